"""One worker's share of every training step: the network, its optimiser, its views, its health."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ray_ssl import views
from ray_ssl.backbones.base import build_backbone
from ray_ssl.batches import Reader, Share, as_tensor, image_source, read_here
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import SOURCE, TARGET, Dataset, ImageSet, balanced_rows, missing_labels
from ray_ssl.data.streamed import NUM_SAMPLED, StreamedSet
from ray_ssl.distributed import synchronise_batch_norm, world, wrap_ddp
from ray_ssl.errors import UserError
from ray_ssl.finetune import begin_from
from ray_ssl.health import embedding_health, knn_accuracy
from ray_ssl.memory import keep_freed_memory
from ray_ssl.methods.base import Method, build_method
from ray_ssl.optim import build_optimiser, learning_rate, restore_optimiser, set_learning_rate
from ray_ssl.rng import seed_torch, stream_seed
from ray_ssl.step_views import StepViews
from ray_ssl.targets import check_domains, labels_to_learn, rows_to_train

EpochMetrics = dict[str, float]

StepInputs = tuple[list[Tensor], Tensor]
"""A worker's share of one global batch: its views, see `Method.embed`, and labels to learn, int64 [B / workers]."""

MIN_KNN_BANK = 1024
KNN_BANK_SHARE = 0.1
"""The online kNN looks at this share of the training images, and half as many test images: 2 % of a step's work."""
MAX_KNN_BANK = NUM_SAMPLED[0]
FEATURE_BATCH_SIZE = 512


class NonFiniteLossError(Exception):
    """The loss became infinite or not a number."""


def bf16_is_fast(device: torch.device) -> bool:
    """Returns whether the hardware computes in bfloat16; emulated, it is about 7 times slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))


def resolve_precision(precision: str, device: torch.device) -> Literal["bf16", "fp32"]:
    """Returns the arithmetic to use for a configured precision on a device."""
    if precision == "auto":
        return "bf16" if bf16_is_fast(device) else "fp32"
    return "bf16" if precision == "bf16" else "fp32"


def check_fits(config: PretrainConfig, dataset: Dataset) -> None:
    """Refuses what cannot be trained on this data.

    Raises:
        UserError: Fewer images than one batch, something the method does not work with, or labels to learn that the
            images do not have.
    """
    check_domains(config, dataset)
    num_images = num_trained(config, dataset)
    if num_images < config.training.global_batch_size:
        raise UserError(
            f"--global-batch-size {config.training.global_batch_size} is larger than the training set: "
            f"{dataset.name} has {num_images} images here"
        )
    config.backbone.check_fits(config.data.image_size)
    config.method.check_fits(config.training.global_batch_size, num_images)
    config.method.check_views(config.views, config.data.image_size)
    labels_to_learn(config, dataset)


def num_trained(config: PretrainConfig, dataset: Dataset) -> int:
    """Returns how many images an epoch goes through, but for those that fill no last batch."""
    rows = rows_to_train(config, dataset)
    return len(dataset.train) if rows is None else len(rows)


@dataclass(frozen=True)
class BegunEpoch:
    """What is done of an epoch.

    Attributes:
        num_steps: Of it.
        sums: Term -> its sum over these steps, a scalar.
        seconds: They took.
    """

    num_steps: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def is_finite(self) -> bool:
        """Whether all sums are."""
        return all(math.isfinite(value.item()) for value in self.sums.values())

    def to_dict(self) -> dict[str, Any]:
        """Returns JSON values that hold every bit of it."""
        sums = {name: (value.item(), str(value.dtype).removeprefix("torch.")) for name, value in self.sums.items()}
        return {"num_steps": self.num_steps, "sums": sums, "seconds": self.seconds}

    @classmethod
    def from_dict(cls, values: dict[str, Any], device: torch.device) -> BegunEpoch:
        """Returns what `to_dict` was called on."""
        sums = values["sums"].items()
        tensors = {name: torch.tensor(v, dtype=getattr(torch, dtype), device=device) for name, (v, dtype) in sums}
        return cls(values["num_steps"], tensors, values["seconds"])


class Trainer:
    """Everything one worker needs for one step; `pretrain` drives it."""

    def __init__(
        self,
        config: PretrainConfig,
        dataset: Dataset,
        device: torch.device,
        reader: Reader = read_here,
        start: Checkpoint | None = None,
    ) -> None:
        """`start`: what the weights begin with instead of random ones, see `ray_ssl.finetune`."""
        check_fits(config, dataset)
        if device.type == "cpu":
            keep_freed_memory()
        self.config, self.dataset, self.device, self.world = config, dataset, device, world()
        self.normalisation = dataset.channel_statistics
        self.precision = resolve_precision(config.training.precision, device)
        self.method = build_trial_method(config, dataset)
        if start is not None:
            begin_from(self.method, start)
            known = start.card["normalisation"]
            self.normalisation = tuple(known["mean"]), tuple(known["std"])
        self.method.to(device)
        self.method.to(memory_format=torch.channels_last)
        self.module: nn.Module = wrap_ddp(synchronise_batch_norm(self.method), device)
        self.optimiser = build_optimiser(self.method, config.optimiser)
        share = Share(config.seed, config.training.global_batch_size, self.world)
        plans = self.method.views(config.views, config.data.image_size)
        self.views = StepViews(plans, share, device, self.normalisation)
        self.source = image_source(dataset.train, share, device, reader, rows_to_train(config, dataset))
        labels, self.num_classes = labels_to_learn(config, dataset)
        self.labels = as_tensor(labels).to(device)
        self.steps_per_epoch = num_trained(config, dataset) // config.training.global_batch_size
        self.num_steps = self.steps_per_epoch * config.training.epochs
        bank_size = min(MAX_KNN_BANK, max(MIN_KNN_BANK, round(KNN_BANK_SHARE * len(dataset.train))))
        # What chooses among trials by their kNN accuracy must not see the target's labels either.
        self.bank = _fixed_subset(dataset.train, bank_size, SOURCE)
        self.queries = {"knn_accuracy": _fixed_subset(dataset.test, bank_size // 2, SOURCE)}
        if dataset.test.domain is not None and not missing_labels(dataset, "test"):
            self.queries["target_knn_accuracy"] = _fixed_subset(dataset.test, bank_size // 2, TARGET)
        self.last_embedding: Tensor | None = None

    def inputs(self, epoch: int, start_step: int = 0) -> Iterator[StepInputs]:
        """Yields this worker's inputs of every step of an epoch, from `start_step` (counted from 0) on."""
        batches = self.source.batches(epoch, start_step)
        for made, rows in self.views.made(batches, epoch, start_step):
            yield made, self.labels[rows.to(self.device, non_blocking=True)]

    def step(self, inputs: StepInputs, epoch: int, step: int) -> tuple[dict[str, Tensor], float]:
        """Trains on one global batch; returns the detached terms and the learning rate used."""
        number = (epoch - 1) * self.steps_per_epoch + step
        rate = learning_rate(number, self.num_steps, self.config.optimiser, self.config.training)
        set_learning_rate(self.optimiser, rate)
        seed_torch(stream_seed(self.config.seed, f"step/{self.world.rank}", epoch, step), self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            terms, outputs = self.module(*inputs)
        self.optimiser.zero_grad(set_to_none=True)
        terms["loss"].backward()
        self.optimiser.step()
        with torch.no_grad():
            self.method.after_step(outputs, (number + 1) / self.num_steps)
        self.last_embedding = outputs["z"]
        return {name: term.detach() for name, term in terms.items()}, rate

    def train_epoch(
        self,
        epoch: int,
        begun: BegunEpoch | None = None,
        after_step: Callable[[BegunEpoch], None] = lambda begun: None,
    ) -> EpochMetrics:
        """Returns the epoch's mean terms, learning rate and throughput.

        Args:
            epoch: Counted from 1.
            begun: What was done of it before.
            after_step: Called after every step but the last.

        Raises:
            NonFiniteLossError: Seen at most one step late, so that a GPU never waits for the check.
        """
        self.method.train()
        begun = begun or BegunEpoch()
        started = time.perf_counter() - begun.seconds
        sums = dict(begun.sums)
        previous: Tensor | None = None
        rate = 0.0
        for step, inputs in enumerate(self.inputs(epoch, begun.num_steps), begun.num_steps):
            terms, rate = self.step(inputs, epoch, step)
            _require_finite(previous, epoch, step - 1)
            previous = terms["loss"]
            for name, term in terms.items():
                sums[name] = sums[name] + term if name in sums else term
            if step + 1 < self.steps_per_epoch:
                after_step(BegunEpoch(step + 1, sums, time.perf_counter() - started))
        _require_finite(previous, epoch, self.steps_per_epoch - 1)
        num_images = self.steps_per_epoch * self.config.training.global_batch_size
        metrics = {name: float(value) / self.steps_per_epoch for name, value in sums.items()}
        seconds = time.perf_counter() - started
        speed = {"images_per_second": num_images / seconds, "epoch_seconds": seconds, "time": time.time()}
        return {"epoch": float(epoch), **metrics, "learning_rate": rate, **speed}

    def health(self) -> EpochMetrics:
        """Online kNN accuracy on a fixed subset, and the spread of the last batch's embeddings.

        Where the set has domains: of the source's test images, and apart of the target's, by those of the source; not
        of a target that lacks labels.
        """
        assert self.last_embedding is not None
        bank, known = self.features(self.bank), as_tensor(self.bank.fine).to(self.device)
        accuracy = {
            name: knn_accuracy(bank, known, self.features(images), as_tensor(images.fine).to(self.device))
            for name, images in self.queries.items()
        }
        return {**accuracy, **embedding_health(self.last_embedding)}

    @torch.no_grad()
    def features(self, images: ImageSet) -> Tensor:
        """Representations [N, D] of unaugmented images, in evaluation mode."""
        self.method.eval()
        parts = []
        for chunk in as_tensor(images.images).split(FEATURE_BATCH_SIZE):
            size = self.config.data.image_size
            plain = views.draw(None, len(chunk), (chunk.shape[1], chunk.shape[2]), size, torch.Generator())
            inputs = views.apply(chunk.to(self.device), plain, *self.normalisation)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                parts.append(self.method.backbone(inputs).float())
        return torch.cat(parts)

    def card(self, epoch: int, **more: Any) -> dict[str, Any]:
        """What a reader of a checkpoint must know to rebuild the network."""
        mean, std = self.normalisation
        return {
            "config": self.config.to_dict(),
            "epoch": epoch,
            "num_classes": self.num_classes,
            "normalisation": {"mean": list(mean), "std": list(std)},
            "layer_names": list(self.method.backbone.layer_names),
            "precision": self.precision,
            "data_fingerprint": self.dataset.fingerprint,
            **more,
        }

    def restore(self, state: Checkpoint) -> None:
        """Puts weights, buffers, optimiser and precision back."""
        self.precision = state.card["precision"]
        self.method.load_state_dict(state.model)
        restore_optimiser(self.optimiser, self.method, state.optimiser)


def build_trial_method(config: PretrainConfig, dataset: Dataset) -> Method:
    """Returns the method with its initial weights, a function of the configuration alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(config.seed, "weights"))
        backbone = build_backbone(config.backbone, config.data.image_size)
        return build_method(config.method, backbone, labels_to_learn(config, dataset)[1])


def _require_finite(loss: Tensor | None, epoch: int, step: int) -> None:
    if loss is not None and not math.isfinite(value := loss.item()):
        raise NonFiniteLossError(
            f"the loss became {value} at epoch {epoch}, step {step}; a lower --learning-rate or a longer "
            "--warmup-fraction may help"
        )


def _fixed_subset(images: ImageSet | StreamedSet, size: int, domain: int) -> ImageSet:
    """A class-balanced subset, of one domain where there are several."""
    if images.domain is None:
        return images.balanced_subset(min(size, len(images)), seed=0)
    rows = np.flatnonzero(images.domain == domain)
    return images.take(rows[balanced_rows(images.fine[rows], min(size, len(rows)), seed=0)])
