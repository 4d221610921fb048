"""MoCo v2: contrast with a queue of a momentum teacher's keys (arXiv 1911.05722, 2003.04297)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import Backbone
from ray_ssl.methods.base import (
    Method,
    ProjectorConfig,
    Queue,
    TeacherMomentum,
    Terms,
    both_ways,
    check_queue,
    follow,
    info_nce_terms,
    teacher_of,
)
from ray_ssl.part import Count, Positive


class Config(ProjectorConfig):
    """MoCo v2 (arXiv 1911.05722, 2003.04297): pick an image's other view out of views of this and earlier batches.

    Queue, momentum, temperature and embedding are those of the authors' CIFAR-10 notebook (facebookresearch/moco,
    colab). Projector and symmetric loss are those of lightly's CIFAR-10 benchmark, whose SGD (0.06 per 128 images,
    weight decay 5e-4) is this project's default; the notebook's rate is a quarter of it. The 2048 units of 2003.04297,
    meant for 2048 features and without BatchNorm, hardly learned on a backbone of width 16.
    """

    name: Literal["moco_v2"] = "moco_v2"  # pyright: ignore[reportIncompatibleVariableOverride]
    temperature: Positive = 0.1
    """what cosine similarities are divided by, tau; lower weighs the hardest negatives more"""
    projector_width: Count = 512
    """units of the projector's hidden layer"""
    embedding_dim: Annotated[int, Field(ge=2)] = 128
    """length of the embedding z"""
    queue_size: Count = 4096
    """embeddings of earlier images that are kept; a multiple of the global batch size, at most all training images"""
    teacher_momentum: TeacherMomentum = 0.99
    """share of its own weights that the teacher keeps at a step; the same in all of training"""
    symmetric: bool = True
    """either view is compared with the teacher's other one; --no-symmetric, as in the papers: view 0 alone, cheaper"""

    def check_fits(self, global_batch_size: int, num_images: int) -> None:
        check_queue(self.queue_size, global_batch_size, num_images)


class MoCoV2(Method):
    """A student (backbone, projector) finds the keys of its teacher among the batch's and those of a queue.

    In place of shuffling BN: a query and its key must not be recognised by BatchNorm statistics that they share and
    the queue's keys do not. The paper's GPUs have statistics of their own, and shuffling gives a key those of other
    images. Here BatchNorm is synchronised, so all queries and keys of a batch share theirs, in any order. That mark is
    made useless instead: the batch's other keys, which bear it too, are candidates besides the queue. It may tell the
    batch from the queue, never a query's key from the others. The papers' candidates are the key and the queue.

    Normalising the teacher by the student's running statistics (arXiv 2101.08482) would leave no mark, but learned
    far less in short runs of small networks.

    The queue holds the keys of view 1 (views are alike in distribution), so no image is in it twice.
    """

    config: Config

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        width, dim = config.projector_width, config.embedding_dim
        # Without BatchNorm, as in 2003.04297.
        self.projector = nn.Sequential(
            nn.Linear(backbone.num_features, width), nn.ReLU(inplace=True), nn.Linear(width, dim)
        )
        self.teacher = teacher_of(self._student())
        self.queue = Queue(config.queue_size, dim)

    def _student(self) -> nn.Sequential:
        return nn.Sequential(self.backbone, self.projector)

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        if self.config.symmetric:
            images = torch.cat(views)
            z0, z1 = self._student()(images).chunk(2)
            key0, key1 = self._keys(images).chunk(2)
            return {"z": z0, "z1": z1, "key0": key0, "key1": key1}
        return {"z": self._student()(views[0]), "key1": self._keys(views[1])}

    @torch.no_grad()
    def _keys(self, images: Tensor) -> Tensor:
        return self.teacher(images)

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        temperature, queue = self.config.temperature, self.queue.rows
        terms = info_nce_terms(outputs["z"], outputs["key1"], temperature, queue)
        if not self.config.symmetric:
            return terms
        return both_ways(terms, info_nce_terms(outputs["z1"], outputs["key0"], temperature, queue))

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        self.queue.push(normalize(outputs["key1"].to(self.queue.rows.dtype), dim=1))
        follow(self.teacher, self._student(), self.config.teacher_momentum)
