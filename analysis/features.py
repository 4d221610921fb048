"""Every layer's features of one checkpoint, from one forward pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from analysis.labels import LabelLevel
from analysis.settings import FP32
from analysis.sums import Images, Split, Statistic, Sum
from analysis.threads import in_threads
from ray_ssl import views
from ray_ssl.backbones.base import Backbone, build_backbone
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig, ViewConfig
from ray_ssl.rng import torch_stream

if TYPE_CHECKING:
    from analysis.connectivity.compared import Eigenvectors
    from analysis.graph.nodes import GraphNodes

Value = TypeVar("Value")


@dataclass
class LayerFeatures:
    """Features of one layer; what several metrics need of them is computed once.

    Attributes:
        train: float32 [N, D].
        test: float32 [M, D].
        inputs: What mutual information is measured from, float32 [N, P] and [M, P]: the normalised pixels, or another
            layer's features. None unless a metric needs them.
        nodes: The graphs whose nodes the rows of `train` and of `test` are. None unless a metric needs them.
        graph: The estimated graph whose nodes the labels are. None unless a metric needs it.

    Raises:
        ValueError: A feature is NaN or infinite, as those of a diverged run are.
    """

    train: Tensor
    test: Tensor
    inputs: tuple[Tensor, Tensor] | None = None
    nodes: tuple[GraphNodes, GraphNodes] | None = None
    graph: Eigenvectors | None = None
    _shared: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        require_finite(self.train, "training features")
        require_finite(self.test, "test features")

    def shared(self, name: str, compute: Callable[[LayerFeatures], Value]) -> Value:
        """Returns `compute(self)`, computed once per layer and name."""
        if name not in self._shared:
            self._shared[name] = compute(self)
        value: Value = self._shared[name]
        return value

    def unit(self, split: Split) -> Tensor:
        """Returns a split's features scaled to length 1; a zero feature stays zero."""
        return self.shared(f"unit {split}", lambda f: normalize(f.train if split == "train" else f.test))

    def sums(self, statistic: Statistic[Sum], split: Split, level: LabelLevel | None = None) -> Sum:
        """See `sums.Layer`; each is taken once."""
        key = f"{statistic.name} of {split} {level.fingerprint if level else ''}"
        return self.shared(key, lambda f: statistic.of(f.images(split, level), partial(_known, f, level)))

    def images(self, split: Split, level: LabelLevel | None, start: int = 0, total: int | None = None) -> Images:
        """Returns what sums are taken of.

        Args:
            split: Whose features.
            level: Whose labels.
            start: Row of the first image where these are a block of more.
            total: How many these more are.
        """
        features = self.train if split == "train" else self.test
        labels = torch.empty(0, dtype=torch.int64) if level is None else level.train if split == "train" else level.test
        num_classes = 0 if level is None else level.num_classes
        return Images(features, partial(self.unit, split), labels, num_classes, start, total or len(features))


def _known(features: LayerFeatures, level: LabelLevel | None, statistic: Statistic[Sum], split: Split) -> Sum:
    return features.sums(statistic, split, level if statistic.labelled else None)


def require_finite(values: Tensor, what: str) -> None:
    """Raises ValueError where any of `values` [N, D] is NaN or infinite."""
    bad = values.isfinite().logical_not_()
    if bad.any():
        raise ValueError(
            f"{what} must be finite: {int(bad.any(1).sum())} of {len(values)} rows hold NaN or infinity "
            "(did the training diverge?)"
        )


FORWARD_BATCH_SIZE = 256


@dataclass(frozen=True)
class Pictures:
    """What a network looks at: images as they are, or several random views of each.

    Attributes:
        images: uint8 [N, H, W, 3].
        num_views: Views of each image, one after the other; 0: the image as it is, once.
        views: How they are made.
        seed: Of the views: a row's view depends on it, on `purpose` and on the row, not on the network.
        purpose: Name of the random stream.
        first: Row of the first picture where only a block is looked at, a multiple of `FORWARD_BATCH_SIZE`: the network
            then sees the same batches as of all pictures, and gives bit-identical features.
        last: Row behind the last; None: all.
    """

    images: NDArray[np.uint8]
    num_views: int = 0
    views: ViewConfig | None = None
    seed: int = 0
    purpose: str = ""
    first: int = 0
    last: int | None = None

    def __post_init__(self) -> None:
        assert self.first % FORWARD_BATCH_SIZE == 0

    def __len__(self) -> int:
        return self._end - self.first

    @property
    def _end(self) -> int:
        return len(self.images) * max(1, self.num_views) if self.last is None else self.last

    @property
    def starts(self) -> range:
        """The first row of each batch."""
        return range(self.first, self._end, FORWARD_BATCH_SIZE)

    def batch(self, start: int, card: dict[str, Any], device: torch.device) -> Tensor:
        """Returns the batch that begins at row `start`, float32 [B, 3, size, size], normalised as the card says."""
        size = card["config"]["data"]["image_size"]
        mean, std = card["normalisation"]["mean"], card["normalisation"]["std"]
        rows = np.arange(start, min(start + FORWARD_BATCH_SIZE, self._end)) // max(1, self.num_views)
        chunk = torch.from_numpy(self.images[rows]).to(device)
        random = torch_stream(self.seed, self.purpose, step=start // FORWARD_BATCH_SIZE)
        drawn = views.draw(
            self.views if self.num_views else None, len(chunk), (chunk.shape[1], chunk.shape[2]), size, random
        )
        return views.apply(chunk, drawn, mean, std)

    def normalised(self, card: dict[str, Any]) -> Tensor:
        """Returns what the network sees, float32 [len(self), 3 x size x size]."""
        return torch.cat([self.batch(start, card, torch.device("cpu")).flatten(1) for start in self.starts])


def load_backbone(checkpoint: Checkpoint) -> Backbone:
    """Returns the backbone of a checkpoint in evaluation mode."""
    config = PretrainConfig.from_dict(checkpoint.card["config"])
    backbone = build_backbone(config.backbone, config.data.image_size)
    prefix = "backbone."
    weights = {k.removeprefix(prefix): v for k, v in checkpoint.model.items() if k.startswith(prefix)}
    backbone.load_state_dict(weights)
    return backbone.eval().to(memory_format=torch.channels_last)


def extract(
    backbone: Backbone, pictures: Pictures, card: dict[str, Any], device: torch.device, precision: str = FP32
) -> list[Tensor]:
    """Returns every layer's features of all pictures, from one forward pass each.

    On a CPU each batch is computed by one thread: no number depends on how many there are.

    Args:
        pictures: What is looked at.
        card: The checkpoint's card; says how its images were normalised.
        precision: Arithmetic of the forward pass, "fp32" or "bf16".

    Returns:
        One float32 [N, D_layer] tensor a layer, on the CPU. Layers with the same features share one tensor.
    """

    def layers_of(start: int) -> list[Tensor]:
        batch = pictures.batch(start, card, device).contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision != FP32):
            return backbone.layers(batch)

    def keep(start: int, layers: list[Tensor]) -> None:
        rows = slice(start - pictures.first, start - pictures.first + len(layers[0]))
        for index, kept in features.items():
            kept[rows] = layers[index].float().cpu()

    if not len(pictures):
        return []
    first = in_threads(layers_of, [pictures.first])[0] if device.type == "cpu" else layers_of(pictures.first)
    sources = [next(j for j, other in enumerate(first) if other is layer) for layer in first]
    features = {index: torch.empty(len(pictures), first[index].shape[1]) for index in sorted(set(sources))}
    keep(pictures.first, first)
    others = pictures.starts[1:]
    if device.type == "cpu":
        in_threads(lambda start: keep(start, layers_of(start)), others)
    else:
        for start in others:
            keep(start, layers_of(start))
    return [features[index] for index in sources]
