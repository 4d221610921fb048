"""What a trial takes of memory and disk, from its configuration alone: no weight is made, no image is drawn.

Networks are built on torch's "meta" device, whose tensors have sizes and no content. A network of many blocks is
measured at two small depths and continued on a straight line, since building a million blocks takes minutes too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from ray_ssl.backbones.base import build_backbone
from ray_ssl.config import PretrainConfig, TrainingConfig
from ray_ssl.config import replace as replace_options
from ray_ssl.errors import UserError
from ray_ssl.methods.base import Method, build_method
from ray_ssl.pretrain import checkpoint_epochs

NUM_BYTES: Final = 4  # of a float32 number; weights, gradients and moments are kept in it
NUM_MOMENTS: Final = {"sgd": 1, "lars": 1, "adamw": 2}
NUM_STATES: Final = 3  # training states on disk at once: a new one is written before the oldest of two is deleted
DEPTH_BUILT: Final = 16  # blocks up to which a network is built as it is
DEPTHS_MEASURED: Final = (1, 2)
NUM_PROBED: Final = 2  # images in the probing batch; BatchNorm takes no single one
MANY_CHECKPOINTS: Final = 1000


@dataclass(frozen=True)
class Footprint:
    """Sizes of one trial; bytes as float, since absurd ones are no integers of a machine.

    Attributes:
        num_parameters: Numbers that training changes.
        num_other: Numbers that it keeps besides: buffers, a teacher, a queue.
        num_moments: Moments of the optimiser for every parameter.
        activation_bytes: What the backward pass of one global batch needs of the backbone, in fp32.
        feature_bytes: All layers' features of one image, in fp32.
        flops: Arithmetic of the forward passes of one image, all its views.
        disk_bytes: All checkpoints, and the training states at their most.
    """

    num_parameters: float
    num_other: float
    num_moments: int
    activation_bytes: float
    feature_bytes: float
    flops: float
    disk_bytes: float = 0.0

    @property
    def weight_bytes(self) -> float:
        """Weights, gradients, moments, and what is kept besides."""
        return NUM_BYTES * ((2 + self.num_moments) * self.num_parameters + self.num_other)

    def at_depth(self, other: Footprint, depth: int) -> Footprint:
        """Returns the sizes at a depth, if these are those at `DEPTHS_MEASURED[0]` and `other` at [1]."""
        first, second = DEPTHS_MEASURED
        share = (depth - first) / (second - first)
        changed = ("num_parameters", "num_other", "activation_bytes", "feature_bytes", "flops")
        grown = {n: getattr(self, n) + share * (getattr(other, n) - getattr(self, n)) for n in changed}
        return replace(self, **grown)


def footprint(config: PretrainConfig, num_classes: int) -> Footprint:
    """Returns the sizes of a trial.

    Args:
        config: What it computes.
        num_classes: Fine classes of its data.

    Raises:
        UserError: A tensor of it would have more than 2^63 bytes.
    """
    found = _measured(_sizing(config), num_classes)
    num_checkpoints = _num_checkpoints(config.training)
    num_states = min(NUM_STATES, max(0, num_checkpoints - 2))
    model = NUM_BYTES * (found.num_parameters + found.num_other)
    state = model + NUM_BYTES * found.num_moments * found.num_parameters
    return replace(found, disk_bytes=num_checkpoints * model + num_states * state)


def _num_checkpoints(training: TrainingConfig) -> int:
    """How many checkpoints a trial keeps; listing the epochs of a billion takes too long to be refused."""
    if min(training.num_checkpoints, training.epochs) > MANY_CHECKPOINTS:
        return min(training.num_checkpoints, training.epochs + 1)
    return len(checkpoint_epochs(training))


def _sizing(config: PretrainConfig) -> PretrainConfig:
    """The configuration without what changes no size, so that a grid's trials share one measurement."""
    plain = PretrainConfig()
    training = plain.training.model_copy(update={"global_batch_size": config.training.global_batch_size})
    optimiser = plain.optimiser.model_copy(update={"optimiser": config.optimiser.optimiser})
    return config.model_copy(update={"seed": 0, "training": training, "optimiser": optimiser, "num_workers": 1})


def _measured(config: PretrainConfig, num_classes: int) -> Footprint:
    depth = getattr(config.backbone, "depth", 0)
    if depth <= DEPTH_BUILT:
        return _built(config.to_json(), num_classes)
    small = [replace_options(config, {"backbone.depth": d}) for d in DEPTHS_MEASURED]
    first, second = (_built(c.to_json(), num_classes) for c in small)
    return first.at_depth(second, depth)


@cache
def _built(config_json: str, num_classes: int) -> Footprint:
    """Builds the network without content and runs the backbone once."""
    config = PretrainConfig.from_json(config_json)
    try:
        with torch.device("meta"):
            backbone = build_backbone(config.backbone, config.data.image_size)
            method = build_method(config.method, backbone, num_classes)
        return _sizes(method, config)
    except (RuntimeError, OverflowError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        raise UserError(
            f"a network with {_options(config)} cannot be counted: one of its tensors has more than 2^63 bytes"
        ) from None


def _options(config: PretrainConfig) -> str:
    """The sizes in a configuration's plug-ins, largest first."""
    found = {**config.backbone.model_dump(), **config.method.model_dump()}
    sizes = {k: v for k, v in found.items() if isinstance(v, int) and not isinstance(v, bool)}
    return ", ".join(f"{k} {v}" for k, v in sorted(sizes.items(), key=lambda pair: -pair[1])[:2])


def _sizes(method: Method, config: PretrainConfig) -> Footprint:
    trained = [p for p in method.parameters() if p.requires_grad]
    num_parameters = sum(p.numel() for p in trained)
    everything = [*method.parameters(), *method.buffers()]
    plans = method.views(config.views, config.data.image_size)
    views = sum((plan.size / config.data.image_size) ** 2 for plan in plans)  # in full-size images
    activations, features, flops = _probe(method, config.data.image_size)
    heads = num_parameters - sum(p.numel() for p in method.backbone.parameters())
    return Footprint(
        num_parameters=num_parameters,
        num_other=sum(t.numel() for t in everything) - num_parameters,
        num_moments=NUM_MOMENTS[config.optimiser.optimiser],
        activation_bytes=activations * views * config.training.global_batch_size,
        feature_bytes=features,
        flops=flops * views + 2 * max(0, heads) * len(plans),
    )


def _probe(method: Method, image_size: int) -> tuple[float, float, float]:
    """For one image: bytes that the backbone's backward pass needs, bytes of all layers' features, operations."""
    weights = {tensor.untyped_storage()._cdata for tensor in (*method.parameters(), *method.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()._cdata
        if storage not in weights:
            kept[storage] = tensor
        return tensor

    images = torch.empty(NUM_PROBED, 3, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda tensor: tensor):
        layers = method.backbone.layers(images)
    saved = sum(t.untyped_storage().nbytes() for t in kept.values())
    features = sum(t.numel() for t in {id(layer): layer for layer in layers}.values()) * NUM_BYTES
    return saved / NUM_PROBED, features / NUM_PROBED, counter.get_total_flops() / NUM_PROBED


def show_bytes(count: float) -> str:
    """Returns e.g. "1.5 GB", decimal units as disks are sold."""
    units = ("kB", "MB", "GB", "TB", "PB", "EB")
    value = count / 1000
    for unit in units[:-1]:
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} {units[-1]}"


def show_count(count: float) -> str:
    """Returns e.g. "0.12 million", "3.4e+12"."""
    if count >= 1e12:
        return f"{count:.3g}"
    return f"{count / 1e9:.3g} billion" if count >= 1e9 else f"{count / 1e6:.3g} million"
