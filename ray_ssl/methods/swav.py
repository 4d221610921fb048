"""SwAV: swapping assignments between views (arXiv 2006.09882)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import normalize

from ray_ssl.backbones.base import Backbone
from ray_ssl.config import ViewConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base import (
    Method,
    MultiCropConfig,
    ProjectorConfig,
    Queue,
    Terms,
    ViewPlan,
    check_queue,
    embed_crops,
    mlp,
    multi_crop_views,
)
from ray_ssl.methods.base.crops import (
    NUM_FULL,
    check_backbone_takes,
    crops_of,
    stack_crops,
    swapped_cross_entropy,
)
from ray_ssl.part import Count, Positive, Probability


class Config(MultiCropConfig, ProjectorConfig):
    """SwAV (arXiv 2006.09882): predict the prototypes that an image's other view is assigned to.

    Defaults are those of lightly's CIFAR-10 benchmark (cifar10_benchmark.py), but for 256 prototypes, as many as the
    default batch fills, where it has 512, and for AdamW where it has Adam. The frozen share is the authors' (313 steps
    of 100 epochs, main_swav.py), the start of the queue solo-learn's (epoch 50 of 1000, scripts/pretrain/cifar).
    """

    RECOMMENDED: ClassVar[dict[str, Any]] = {
        "optimiser.optimiser": "adamw",
        "optimiser.learning_rate": 1e-3,
        "optimiser.weight_decay": 1e-6,
    }

    name: Literal["swav"] = "swav"  # pyright: ignore[reportIncompatibleVariableOverride]
    projector_width: Count = 512
    """units of the projector's hidden layer"""
    embedding_dim: Annotated[int, Field(ge=2)] = 128
    """length of the embedding z"""
    num_prototypes: Annotated[int, Field(ge=2)] = 256
    """prototypes that embeddings are compared with, K"""
    temperature: Positive = 0.1
    """what cosine similarities are divided by, tau; lower is sharper"""
    sinkhorn_epsilon: Positive = 0.05
    """entropy of the assignments to prototypes, epsilon; lower is harder"""
    sinkhorn_iterations: Count = 3
    """rounds in which the assignments are spread evenly over the prototypes"""
    queue_size: Annotated[int, Field(ge=0)] = 0
    """embeddings of earlier images kept; 0: no queue"""
    queue_start: Probability = 0.05
    """share of training after which the queue helps to spread the assignments"""
    freeze_fraction: Probability = 0.01
    """share of training in which the prototypes stay as they were initialised"""

    def without_effect(self) -> dict[str, str]:
        return super().without_effect() | ({} if self.queue_size else {"queue_start": "--queue-size above 0"})

    def check_fits(self, global_batch_size: int, num_images: int) -> None:
        if self.queue_size:
            check_queue(self.queue_size, global_batch_size, num_images)
        assigned = global_batch_size + self.queue_size
        if self.num_prototypes > assigned:
            raise UserError(
                f"--num-prototypes {self.num_prototypes} is more than --global-batch-size {global_batch_size} + "
                f"--queue-size {self.queue_size} images can fill; at most {assigned} are"
            )


class SwAV(Method):
    """Prototypes are brought back to length 1 after every step, as in the authors' code.

    Attributes:
        queues: One for each full view, of embeddings of length 1; none with a queue size of 0.
        progress: float [], share of training done before this step.
    """

    config: Config
    progress: Tensor

    def __init__(self, config: Config, backbone: Backbone, num_classes: int) -> None:
        super().__init__(config, backbone, num_classes)
        self.projector = mlp(backbone.num_features, config.projector_width, config.embedding_dim)
        self.prototypes = nn.Linear(config.embedding_dim, config.num_prototypes, bias=False)
        num_queues = NUM_FULL if config.queue_size else 0
        self.queues = nn.ModuleList(Queue(config.queue_size, config.embedding_dim) for _ in range(num_queues))
        self.register_buffer("progress", torch.zeros(()))
        self._normalise_prototypes()

    def views(self, views: ViewConfig, image_size: int) -> list[ViewPlan]:
        plans = multi_crop_views(self.config, views, image_size)
        check_backbone_takes(plans, self.backbone)
        return plans

    def embed(self, views: list[Tensor], labels: Tensor) -> dict[str, Tensor]:
        return stack_crops(embed_crops(nn.Sequential(self.backbone, self.projector), views))

    def terms(self, outputs: dict[str, Tensor]) -> Terms:
        # Frozen weights get a gradient of 0, not none, which workers would wait for in vain.
        weight = self.prototypes.weight
        weight = torch.where(self.progress < self.config.freeze_fraction, weight.detach(), weight)
        scores = normalize(crops_of(outputs), dim=2) @ weight.T  # [N, views, K]
        codes = torch.stack([self._codes(scores[:, view].detach(), view) for view in range(NUM_FULL)], 1)
        return swav_terms(scores, codes, self.config.temperature)

    def after_step(self, outputs: dict[str, Tensor], progress: float) -> None:
        self._normalise_prototypes()
        z = normalize(crops_of(outputs).to(self.prototypes.weight.dtype), dim=2)
        for view, queue in enumerate(self.queues):
            queue.push(z[:, view])  # type: ignore[operator]
        self.progress.fill_(progress)

    @torch.no_grad()
    def _codes(self, scores: Tensor, view: int) -> Tensor:
        """Assignments [N, K] of one full view's images, which share the prototypes with those of its queue."""
        weights = scores.new_ones(len(scores))
        if self.queues:
            queue: Queue = self.queues[view]  # type: ignore[assignment]
            # Rows that do not count yet weigh 0: no branch on a tensor, which a GPU would have to be waited for.
            counts = (torch.arange(len(queue.rows), device=scores.device) < queue.filled) & (
                self.progress >= self.config.queue_start
            )
            weights = torch.cat([weights, counts.to(weights.dtype)])
            scores = torch.cat([scores, queue.rows @ self.prototypes.weight.T])
        codes = sinkhorn(scores, weights, self.config.sinkhorn_epsilon, self.config.sinkhorn_iterations)
        return codes[: len(codes) - self.config.queue_size]

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(normalize(self.prototypes.weight, dim=1))


def sinkhorn(scores: Tensor, weights: Tensor, epsilon: float, num_iterations: int) -> Tensor:
    """Assigns images to prototypes so that all prototypes get about equally much (Sinkhorn-Knopp).

    Computed with logarithms, so that no epsilon overflows.

    Args:
        scores: float [M, K]: similarities of images and prototypes.
        weights: float [M], >= 0: how much an image counts; one of weight 0 is assigned, but takes no share.
        epsilon: > 0: the higher, the softer.
        num_iterations: >= 1: how often prototypes, then images are normalised.

    Returns:
        [M, K] codes, each row a distribution; their weighted column sums approach sum(weights) / K.

    Source:
        arXiv 2006.09882, equations 3-5.
    """
    logits = scores / epsilon
    by_image = weights.log()
    rows, columns = torch.zeros_like(weights), torch.zeros_like(scores[0])
    for _ in range(num_iterations):
        columns = -(logits + (by_image + rows)[:, None]).logsumexp(0)  # [K]
        rows = -(logits + columns).logsumexp(1)  # [M]
    return (logits + columns + rows[:, None]).exp()


def swav_terms(scores: Tensor, codes: Tensor, temperature: float) -> Terms:
    """Computes SwAV's loss and what becomes of the assignments.

    Args:
        scores: float [N, V, K]: similarities of the global batch's V >= 2 views and the prototypes, full views first.
        codes: float [N, 2, K]: assignments of the full views.
        temperature: tau > 0.

    Returns:
        Scalars in nats: "loss" = "entropy" (of the assignments) + "divergence" (KL of the predictions from them), all
        >= 0; "mean_entropy": entropy of the mean of all predictions, 0 where they name one prototype for all images.
        Entropy near log K is collapse: the assignments say nothing.

    Source:
        arXiv 2006.09882, equation 2, with small views equation 6; averaged over the pairs of views, as in the authors'
        code (the equations add them).
    """
    log_predictions = (scores / temperature).log_softmax(-1)
    terms = swapped_cross_entropy(codes, log_predictions)
    with torch.no_grad():
        mean_entropy = torch.special.entr(log_predictions.exp().mean((0, 1))).sum()
    return terms | {"mean_entropy": mean_entropy}
