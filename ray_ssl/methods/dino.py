"""DINO: self-distillation with no labels (arXiv 2104.14294)."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import ViewConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base import (
    Method,
    MultiCropConfig,
    ProjectorConfig,
    TeacherMomentum,
    Terms,
    ViewPlan,
    cosine_momentum,
    embed_crops,
    follow,
    multi_crop_views,
    teacher_of,
)
from ray_ssl.methods.base.crops import (
    NUM_FULL,
    check_backbone_takes,
    crops_of,
    stack_crops,
    swapped_cross_entropy,
)
from ray_ssl.part import Positive, Probability


class Config(MultiCropConfig, ProjectorConfig):
    """DINO (arXiv 2104.14294): match a momentum teacher's centred and sharpened distribution over prototypes.

    Defaults are those of lightly's CIFAR-10 benchmark (cifar10_benchmark.py), where the teacher's momentum stays as
    it is; rate and decay are the project's. The frozen share is the authors' (one epoch of 100, main_dino.py).
    """

    name: Literal["dino"] = "dino"  # pyright: ignore[reportIncompatibleVariableOverride]
    embedding_dim: Annotated[int, Field(ge=2)] = 256
    """length of the embedding z"""
    num_prototypes: Annotated[int, Field(ge=2)] = 2048
    """prototypes that embeddings are compared with, K"""
    temperature: Positive = 0.1
    """what cosine similarities are divided by, tau; lower is sharper"""
    teacher_temperature: Positive = 0.04
    """the teacher's temperature once it is warmed up; must be below the student's to sharpen"""
    initial_teacher_temperature: Positive = 0.04
    """the teacher's temperature at the start; from here it goes linearly to its final value"""
    teacher_warmup: Probability = 0.1
    """share of training in which the teacher's temperature changes"""
    teacher_momentum: TeacherMomentum = 0.99
    """share of its own weights that the teacher keeps at a step; rises to 1 along a cosine"""
    centre_momentum: TeacherMomentum = 0.9
    """share of itself that the centre of the teacher's outputs keeps at a step, m"""
    freeze_fraction: Probability = 0.01
    """share of training in which the prototypes stay as they were initialised"""

    @model_validator(mode="after")
    def _sharpens(self) -> Self:
        warmest = max(self.teacher_temperature, self.initial_teacher_temperature)
        if warmest >= self.temperature:
            raise ValueError(
                f"the teacher's temperature must stay below the student's {self.temperature:g}, given {warmest:g}"
            )
        return self

    def without_effect(self) -> dict[str, str]:
        constant = self.initial_teacher_temperature == self.teacher_temperature
        need = "--initial-teacher-temperature other than --teacher-temperature"
        return super().without_effect() | ({"teacher_warmup": need} if constant else {})

    def check_fits(self, global_batch_size: int, num_images: int) -> None:
        if self.num_prototypes > num_images:
            raise UserError(
                f"--num-prototypes {self.num_prototypes} is more than there are training images, {num_images}"
            )


class DINO(Method):
    """The teacher sees the full views alone; the student sees all. Prototypes are of length 1 in effect.

    Attributes:
        centre: float [num_prototypes], the moving average of the teacher's outputs.
        progress: float [], share of training done before this step.
    """

    config: Config
    centre: Tensor
    progress: Tensor

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.projector = nn.Sequential(
            nn.Linear(backbone.num_features, config.projector_width, bias=False),
            nn.BatchNorm1d(config.projector_width),
            nn.GELU(),
            nn.Linear(config.projector_width, config.embedding_dim),
        )
        self.prototypes = nn.Linear(config.embedding_dim, config.num_prototypes, bias=False)
        self.teacher = teacher_of(nn.Sequential(self.backbone, self.projector))
        self.teacher_prototypes = teacher_of(self.prototypes)
        self.register_buffer("centre", torch.zeros(config.num_prototypes))
        self.register_buffer("progress", torch.zeros(()))

    def views(self, views: ViewConfig, image_size: int) -> list[ViewPlan]:
        plans = multi_crop_views(self.config, views, image_size)
        check_backbone_takes(plans, self.backbone)
        return plans

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        student = embed_crops(nn.Sequential(self.backbone, self.projector), views)
        with torch.no_grad():
            teacher = embed_crops(self.teacher, views[:NUM_FULL])
        return stack_crops(student) | {"teacher": torch.stack(teacher, 1)}

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        # Frozen weights get a gradient of 0, not none, which workers would wait for in vain; their decay leaves
        # the direction, all that counts, as it is.
        weight = self.prototypes.weight
        weight = torch.where(self.progress < self.config.freeze_fraction, weight.detach(), weight)
        return dino_terms(
            prototype_logits(crops_of(outputs), weight),
            self._teacher_logits(outputs),
            self.centre,
            self.config.temperature,
            teacher_temperature(self.config, self.progress),
        )

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        mean = self._teacher_logits(outputs).mean((0, 1))
        self.centre.lerp_(mean, 1 - self.config.centre_momentum)  # arXiv 2104.14294, equation 4
        momentum = cosine_momentum(self.config.teacher_momentum, progress)
        follow(self.teacher, nn.Sequential(self.backbone, self.projector), momentum)
        follow(self.teacher_prototypes, self.prototypes, momentum)
        self.progress.fill_(progress)

    def _teacher_logits(self, outputs: dict[str, Tensor]) -> Tensor:
        weight: Tensor = self.teacher_prototypes.weight  # type: ignore[assignment]
        return prototype_logits(outputs["teacher"].to(weight.dtype), weight)


def prototype_logits(z: Tensor, weight: Tensor) -> Tensor:
    """Cosine similarities [..., K] of embeddings z [..., D] and prototypes [K, D], each of any length."""
    return linear(normalize(z, dim=-1), normalize(weight, dim=-1))


def teacher_temperature(config: Config, progress: Tensor) -> Tensor:
    """Returns the teacher's temperature, a scalar, when a share `progress` (0..1) of training is done."""
    if config.teacher_warmup == 0:
        return torch.full_like(progress, config.teacher_temperature)
    warm = (progress / config.teacher_warmup).clamp_max(1)
    return config.initial_teacher_temperature + warm * (config.teacher_temperature - config.initial_teacher_temperature)


def dino_terms(
    student: Tensor, teacher: Tensor, centre: Tensor, temperature: float, teacher_temperature: Tensor | float
) -> Terms:
    """Computes DINO's loss and what becomes of the teacher's distributions.

    Args:
        student: float [N, V, K]: the student's outputs for the global batch's V >= 2 views, the full ones first.
        teacher: float [N, 2, K]: the teacher's outputs for the full views.
        centre: float [K]: subtracted from the teacher's outputs.
        temperature: The student's, > 0.
        teacher_temperature: The teacher's, > 0.

    Returns:
        Scalars in nats: "loss" = "entropy" (of the teacher's distribution) + "divergence" (KL of the student's from
        it), all >= 0; "mean_entropy": entropy of the mean of the teacher's distributions, 0 where all images choose
        one prototype. Entropy near log K is collapse to the uniform distribution.

    Source:
        arXiv 2104.14294, equations 1 and 3; averaged over the pairs of views, as in the authors' code (equation 3
        adds them).
    """
    targets = ((teacher - centre) / teacher_temperature).softmax(-1).detach()
    terms = swapped_cross_entropy(targets, (student / temperature).log_softmax(-1))
    return terms | {"mean_entropy": torch.special.entr(targets.mean((0, 1))).sum()}
