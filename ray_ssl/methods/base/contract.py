"""The contract of a pretraining method.

A method owns every tensor its training needs: backbone, projector, and where it has them a momentum teacher,
a queue, prototypes, a centre. All of them are parameters or buffers, so `state_dict()` is its whole state.

One step: `views` says which views it wants, `embed` maps this worker's views to tensors with one row an
image, these are gathered over all workers (with gradients), and `terms` computes the loss from the global
batch. `terms` sees the same tensors on every worker, so N workers give the gradient of one with the whole
batch. What changes outside the gradient (a teacher's moving average, a queue) belongs into `after_step`.

What that allows: `terms` may use parameters (prototypes) and read buffers (a queue, a centre) but changes
neither; parameters without `requires_grad` (a teacher) may stand anywhere; views may differ in number, size and
augmentation. What a loss must know about the training so far (its progress for a temperature schedule, the
number of the step for a random stream) is a buffer that `after_step` writes. Nothing draws from torch's global
generator while training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import MethodConfig, ViewConfig
from ray_ssl.distributed import gather
from ray_ssl.methods.base.heads import ProjectorConfig, mlp
from ray_ssl.plugins import plugin_class

Terms = dict[str, Tensor]
"""Scalars by name. "loss" is minimised; where the split exists, it is "invariance" + "regularisation"."""


class ViewPlan(NamedTuple):
    """One view of every image: how it is augmented (None: not at all) and its size in pixels."""

    config: ViewConfig | None
    size: int


class Method(nn.Module, ABC):
    """Base of all methods; a subclass is found by the name of its module.

    Args:
        config: The method's own options.
        backbone: The network that is measured afterwards.
        num_classes: Of the labels to learn; unused by methods without labels.
    """

    def __init__(self, config: MethodConfig, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone

    def views(self, views: ViewConfig, image_size: int) -> list[ViewPlan]:
        """Returns the views each image gets; two full-size ones unless a method says otherwise."""
        return [ViewPlan(views, image_size)] * 2

    @abstractmethod
    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        """Maps this worker's images to what the loss needs.

        Args:
            views: One [B, 3, size, size] tensor per entry of `self.views`.
            labels: int64 [B] labels to learn (fine ones, unless the method's option `target` names others); only
                methods whose `LEARNS_FROM` says so may look at them. Where the images have domains, those outside
                the source have `UNLABELLED`.

        Returns:
            Tensors [B, ...]. "z" is the embedding by which collapse is judged.
        """

    @abstractmethod
    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        """Returns the loss and its terms from the gathered outputs, [global batch, ...] in global order."""

    def forward(self, views: list[Tensor], labels: Tensor) -> tuple[Terms, dict[str, Tensor]]:
        """Returns the terms and the (detached) gathered outputs of one step."""
        outputs = {name: gather(tensor) for name, tensor in self.embed(views, labels).items()}
        with torch.autocast(labels.device.type, enabled=False):  # losses are computed in fp32
            terms = self.terms({name: _at_least_fp32(tensor) for name, tensor in outputs.items()})
        return terms, {name: tensor.detach() for name, tensor in outputs.items()}

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        """Updates what the gradient does not; called after the optimiser's step, under `torch.no_grad()`.

        Args:
            outputs: The gathered outputs of the step, detached.
            progress: Share of training done, 0..1.
        """


class TwoViewMethod(Method):
    """Base of methods whose loss needs nothing but the projected embeddings "z" and "z1" of two views."""

    def __init__(self, config: ProjectorConfig, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.projector = mlp(backbone.num_features, config.projector_width, config.embedding_dim)

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        return embed_two_views(self.backbone, self.projector, views)


def build_method(config: MethodConfig, backbone: Backbone, num_classes: int) -> Method:
    """Returns the freshly initialised method that `config.name` names."""
    return plugin_class("ray_ssl.methods", config.name, Method)(config, backbone, num_classes)  # type: ignore[abstract]


def embed_two_views(backbone: nn.Module, head: nn.Module, views: list[Tensor]) -> dict[str, Tensor]:
    """Both views in one pass: {"z": z0, "z1": z1}, each [B, dim]; BatchNorm sees both views together."""
    z0, z1 = head(backbone(torch.cat(views))).chunk(2)
    return {"z": z0, "z1": z1}


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32)) if tensor.is_floating_point() else tensor
