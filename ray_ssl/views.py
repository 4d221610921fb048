"""Batched augmentations on any device: each image its own draw, no per-image Python.

`draw` makes the random numbers of a whole batch on the CPU, `apply` does the work on the images' device: crop,
resize and mirror are one matrix a side of an image; brightness, contrast, saturation and grey are 3 x 3 matrices.
On a CPU the work goes through portions of the batch that stay in its cache.

Source: arXiv 2002.05709, appendix A (SimCLR). The operations agree with torchvision's on float images.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from ray_ssl.colour import HUE, affine_step, affine_steps, grey_matrices, hue_origins, shift_hue_, solarise_
from ray_ssl.config import ViewConfig
from ray_ssl.spatial import blur, crop_positions, resize

_CROP_TRIES = 10  # as torchvision's RandomResizedCrop
_NUM_STEPS = 4  # of the jitter
_NO_AUGMENTATION = ViewConfig(flip_probability=0, jitter_probability=0, grey_probability=0)
_PORTION_PIXELS = 64 * 32 * 32  # of the images that a CPU works on at a time; measured


@dataclass(frozen=True)
class ViewParameters:
    """What happens to each image of a batch: CPU tensors, one row an image.

    Attributes:
        size: Height and width of the views in pixels.
        solarise_threshold: Pixels at or above it are inverted in solarised images, 0..1.
        box: int64 [B, 4], top, left, height, width of the crop in pixels.
        flip: bool [B], mirrored left to right.
        jitter: bool [B], whether the colours are jittered at all.
        factors: float32 [B, 3], brightness, contrast, saturation; 1 changes nothing.
        hue: float32 [B], turns of the colour circle, -0.5..0.5.
        order: int64 [B, 4], order of brightness 0, contrast 1, saturation 2, hue 3.
        grey: bool [B], turned grey.
        blur: bool [B], blurred.
        sigma: float32 [B], standard deviation of the blur in pixels.
        solarise: bool [B], solarised.
    """

    size: int
    solarise_threshold: float
    box: Tensor
    flip: Tensor
    jitter: Tensor
    factors: Tensor
    hue: Tensor
    order: Tensor
    grey: Tensor
    blur: Tensor
    sigma: Tensor
    solarise: Tensor

    def __len__(self) -> int:
        return len(self.box)

    def __getitem__(self, rows: slice | Tensor) -> "ViewParameters":
        """Returns the parameters of some images, e.g. of one worker's share of the global batch."""
        return replace(self, **{name: v[rows] for name, v in vars(self).items() if isinstance(v, Tensor)})


def draw(
    config: ViewConfig | None,
    num_images: int,
    image_size: tuple[int, int],
    size: int,
    generator: torch.Generator,
) -> ViewParameters:
    """Draws one view of every image.

    Args:
        config: Strengths and probabilities; None for no augmentation: the whole image, resized.
        num_images: Images of the batch. Workers draw for the global batch and take their rows of it.
        image_size: Height and width of the images in pixels.
        size: Height and width of the views in pixels.
        generator: A CPU generator, so that the views are the same on every device.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return torch.empty(num_images, *shape, dtype=torch.float64).uniform_(low, high, generator=generator)

    def chance(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    augmented = config is not None
    config = config or _NO_AUGMENTATION
    strengths = torch.tensor([config.brightness, config.contrast, config.saturation], dtype=torch.float64)
    lowest = (1 - strengths).clamp_min(0)
    whole = torch.tensor([0, 0, *image_size]).expand(num_images, 4)
    return ViewParameters(
        size=size,
        solarise_threshold=config.solarise_threshold,
        box=_draw_boxes(config, uniform, image_size) if augmented else whole,
        flip=chance(config.flip_probability),
        jitter=chance(config.jitter_probability),
        factors=(lowest + uniform(0, 1, 3) * (1 + strengths - lowest)).float(),
        hue=uniform(-config.hue, config.hue).float(),
        order=uniform(0, 1, 4).argsort(1),
        grey=chance(config.grey_probability),
        blur=chance(config.blur_probability),
        sigma=uniform(*config.blur_sigma).float(),
        solarise=chance(config.solarise_probability),
    )


def _draw_boxes(config: ViewConfig, uniform: Callable[..., Tensor], image_size: tuple[int, int]) -> Tensor:
    """Crop boxes int64 [B, 4] as torchvision's RandomResizedCrop draws them, all tries of all images at once."""
    image_height, image_width = image_size
    area = uniform(*config.crop_scale, _CROP_TRIES) * (image_height * image_width)
    ratio = uniform(math.log(config.crop_ratio[0]), math.log(config.crop_ratio[1]), _CROP_TRIES).exp()
    width, height = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (width > 0) & (width <= image_width) & (height > 0) & (height <= image_height)
    # The last column is the fallback; argmax finds the first try that fits.
    central_height, central_width = _central_box(config.crop_ratio, image_size)
    fits = pad(fits, (0, 1), value=True)
    height = pad(height, (0, 1), value=central_height)
    width = pad(width, (0, 1), value=central_width)
    first = fits.byte().argmax(1, keepdim=True)
    height, width = height.gather(1, first), width.gather(1, first)
    room = torch.tensor(image_size) - torch.cat([height, width], 1)
    corner = torch.where(first == _CROP_TRIES, room / 2, uniform(0, 1, 2) * (room + 1)).floor()
    return torch.cat([corner, height, width], 1).long()


def _central_box(ratio: tuple[float, float], image_size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the largest central crop whose aspect ratio is in range."""
    height, width = image_size
    if width / height < ratio[0]:
        return round(width / ratio[0]), width
    if width / height > ratio[1]:
        return height, round(height * ratio[1])
    return height, width


def augment(
    images: Tensor,
    config: ViewConfig | None,
    size: int,
    generator: torch.Generator,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels_last: bool = False,
) -> Tensor:
    """Draws and makes one view of every image; see `draw` and `apply`."""
    params = draw(config, len(images), (images.shape[1], images.shape[2]), size, generator)
    return apply(images, params, mean, std, channels_last)


def apply(
    images: Tensor,
    params: ViewParameters,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    channels_last: bool = False,
) -> Tensor:
    """Makes the views that were drawn.

    Args:
        images: uint8 [B, H, W, 3], RGB, on any device.
        params: B rows.
        mean: Of red, green and blue on the 0..1 scale; subtracted at the end.
        std: Of red, green and blue on the 0..1 scale; divided by at the end.
        channels_last: Memory format of the views; it costs one more copy.

    Returns:
        float32 [B, 3, size, size] on the images' device; 0..1 where it is not normalised.
    """
    num_images, height, width, num_colours = images.shape
    assert images.dtype == torch.uint8 and num_colours == 3 and num_images == len(params)
    # Images whose hue is shifted at the same step of the jitter stand together; those without jitter are last.
    hue_step = torch.where(params.jitter, (params.order == HUE).int().argmax(1), _NUM_STEPS)
    rank = hue_step.argsort(stable=True)
    params = params[rank]
    on_cpu = images.device.type == "cpu"
    portion_size = max(1, _PORTION_PIXELS // max(height * width, params.size**2)) if on_cpu else num_images
    portions = _portions(hue_step.bincount(minlength=_NUM_STEPS + 1).cumsum(0).tolist(), portion_size)
    sizes = [rows.stop - rows.start for rows, _ in portions]
    tables = [table.to(images.device).split(sizes) for table in _tables(rank, params, height, width)]
    normalisation = [torch.tensor(v, device=images.device)[:, None, None] for v in (mean, std) if v is not None]
    unmoved = not params.flip.any() and bool((params.box == torch.tensor([0, 0, params.size, params.size])).all())
    unmoved = unmoved and height == width == params.size
    views = torch.empty(num_images, 3, params.size, params.size, device=images.device)
    for (rows, hue_stops), portion in zip(portions, map(_Tables._make, zip(*tables))):
        colours = _crop(images.index_select(0, portion.source), portion, unmoved)
        if hue_stops:
            colours = _jitter(colours, portion, hue_stops)
        torch.bmm(portion.grey, colours, out=views[rows].flatten(2))
        _blur_and_solarise_(views[rows], params, rows)
        if normalisation:
            views[rows].sub_(normalisation[0]).div_(normalisation[1])
    views = views.index_select(0, rank.argsort().to(images.device))
    return views.contiguous(memory_format=torch.channels_last) if channels_last else views


class _Tables(NamedTuple):
    """What `apply` looks up for every image, on the device of the images, in the order of their hue's step."""

    source: Tensor  # [B] row of the batch
    image_rows: Tensor  # [B, H, 1], see crop_positions
    crop_rows: Tensor  # [B, 1, size]
    image_columns: Tensor  # [B, W, 1]
    crop_columns: Tensor  # [B, 1, size]
    matrices: Tensor  # [B, 3, 3, 3], see affine_steps
    mean_weights: Tensor  # [B, 3, 3]
    hue_origins: Tensor  # [B, 3]
    grey: Tensor  # [B, 3, 3]


def _tables(rank: Tensor, params: ViewParameters, height: int, width: int) -> _Tables:
    top, left, crop_height, crop_width = params.box.unbind(1)
    return _Tables(
        rank,
        *crop_positions(top, crop_height, torch.zeros_like(params.flip), height, params.size),
        *crop_positions(left, crop_width, params.flip, width, params.size),
        *affine_steps(params.order, params.factors),
        hue_origins(params.hue),
        grey_matrices(params.grey),
    )


def _portions(stops: list[int], most: int) -> list[tuple[slice, list[int]]]:
    """Cuts the sorted batch into portions that are all jittered or all not.

    Args:
        stops: For each step of the jitter, and for no jitter, the row after the last image of that hue step.
        most: Images of a portion.

    Returns:
        Rows of each portion with its own `stops`, which are empty where nothing is jittered.
    """
    *hue_stops, end = stops
    portions = []
    for first, last, jittered in ((0, hue_stops[-1], True), (hue_stops[-1], end, False)):
        num_portions = -(-(last - first) // most)
        edges = [first + (last - first) * i // num_portions for i in range(num_portions + 1)] if num_portions else []
        for start, stop in pairwise(edges):
            own_stops = [min(max(s, start), stop) - start for s in hue_stops] if jittered else []
            portions.append((slice(start, stop), own_stops))
    return portions


def _crop(images: Tensor, portion: _Tables, unmoved: bool) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, size * size] in 0..1: crop, mirror and resize."""
    if unmoved:
        return images.flatten(1, 2).mT.float().div_(255)
    rows, columns = (portion.image_rows, portion.crop_rows), (portion.image_columns, portion.crop_columns)
    return resize(images, rows, columns).div_(255)


def _jitter(colours: Tensor, portion: _Tables, hue_stops: list[int]) -> Tensor:
    """Four steps for images [B, 3, P]: at each, some shift their hue; between two, all take an affine map."""
    for step, (start, stop) in enumerate(pairwise([0, *hue_stops])):
        if stop > start:
            shift_hue_(colours[start:stop], portion.hue_origins[start:stop])
        if step < _NUM_STEPS - 1:
            colours = affine_step(colours, portion.matrices[:, step], portion.mean_weights[:, step])
    return colours


def _blur_and_solarise_(views: Tensor, params: ViewParameters, rows: slice) -> None:
    """Changes the images of a portion [B, 3, size, size] in place that are to be blurred or solarised."""
    if (blurred := params.blur[rows].nonzero()[:, 0]).numel():
        chosen = blurred.to(views.device)
        views[chosen] = blur(views[chosen], params.sigma[rows][blurred].to(views.device))
    if (inverted := params.solarise[rows].nonzero()[:, 0]).numel():
        chosen = inverted.to(views.device)
        views[chosen] = solarise_(views[chosen], params.solarise_threshold)
