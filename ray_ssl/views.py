"""Batched augmentations on any device: each image its own draw, no per-image Python.

`draw` makes the random numbers of a whole batch on the CPU, `apply` does the work on the images' device: crop,
resize and mirror are one matrix a side of an image; brightness, contrast, saturation and grey are 3 x 3 matrices.
On a CPU the work goes through portions of the batch that stay in its cache.

Source: arXiv 2002.05709, appendix A (SimCLR). The operations agree with torchvision's on float images.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ray_ssl.colour import HUE, affine_step, affine_steps, grey_matrices, hue_origins, shift_hue_, solarise_
from ray_ssl.config import ViewConfig
from ray_ssl.spatial import blur, crop_positions, resize
from ray_ssl.view_parameters import ViewParameters, concatenate, draw

__all__ = ["ViewParameters", "apply", "apply_all", "augment", "draw"]

_NUM_STEPS = 4  # of the jitter
_PORTION_PIXELS = 128 * 32 * 32  # of the images that a CPU works on at a time; measured


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
    device, size = images.device, params.size
    assert images.dtype == torch.uint8
    assert (num_images, num_colours) == (len(params), 3)
    order, stops = _by_hue_step(params)
    params, order = (params, None) if order is None else (params[order], order.to(device))
    unmoved = not params.augmented and height == width == size
    portion_size = max(1, _PORTION_PIXELS // max(height * width, size**2)) if device.type == "cpu" else num_images
    portions = _portions(stops, portion_size)
    scale = torch.ones(3, 1) if std is None else torch.tensor(std)[:, None]
    factor = scale.reciprocal().to(device)
    shift = (torch.zeros(3, 1) if mean is None else torch.tensor(mean)[:, None] / scale).to(device)
    tables = _split(_tables(params, (height, width)), [rows for rows, _ in portions], device)
    jittered = [rows for rows, hue_stops in portions if hue_stops]  # they come first
    jitters = iter(_split(_jitter_tables(params[: stops[-2]]), jittered, device) if jittered else ())
    views = torch.empty(num_images, 3, size**2, device=device)  # rejoins the portions
    for (rows, hue_stops), table in zip(portions, tables, strict=True):
        chosen = images[rows] if order is None else images.index_select(0, order[rows])
        colours = _crop(chosen, table, unmoved)
        if hue_stops:
            colours = _jitter(colours, next(jitters), hue_stops)
        # Nothing may depend on the other images of the portion, not even how a number is rounded: grey of an image that
        # stays as it is multiplies by 1 and adds 0.
        if params.grey[rows].any():
            colours = torch.bmm(grey_matrices(params.grey[rows]).to(device), colours)
        _blur_and_solarise_(colours.view(-1, 3, size, size), params, rows)
        made = torch.mul(colours, factor, out=views[rows] if order is None else colours).sub_(shift)
        if order is not None:
            views.index_copy_(0, order[rows], made)
    views = views.view(-1, 3, size, size)
    return views.contiguous(memory_format=torch.channels_last) if channels_last else views


def apply_all(
    images: Tensor, drawn: Sequence[ViewParameters], mean: Sequence[float] | None, std: Sequence[float] | None
) -> list[Tensor]:
    """Makes several views of every image; see `apply`. Views of one kind are made together, which is faster."""
    kinds: dict[object, list[int]] = {}
    for number, params in enumerate(drawn):
        kinds.setdefault((params.size, params.solarise_threshold, params.augmented), []).append(number)
    views = [images] * len(drawn)
    for numbers in kinds.values():
        repeated = images.repeat(len(numbers), 1, 1, 1) if len(numbers) > 1 else images
        made = apply(repeated, concatenate([drawn[number] for number in numbers]), mean, std)
        for number, view in zip(numbers, made.split(len(images)), strict=True):
            views[number] = view
    return views


def _by_hue_step(params: ViewParameters) -> tuple[Tensor | None, list[int]]:
    """Returns the order of the images in which those whose hue is shifted at the same step of the jitter stand
    together and those without jitter are last (None: as they are, nothing is jittered), and the `stops` of `_portions`.
    """
    if not params.jitter.any():
        return None, [*[0] * _NUM_STEPS, len(params)]
    hue_step = torch.where(params.jitter, (params.order == HUE).int().argmax(1), _NUM_STEPS)
    return hue_step.argsort(stable=True), hue_step.bincount(minlength=_NUM_STEPS + 1).cumsum(0).tolist()


class _Tables(NamedTuple):
    """What `apply` looks up for every image, on the device of the images, in the order of their hue's step."""

    image_rows: Tensor  # [B, H, 1], see crop_positions
    crop_rows: Tensor  # [B, 1, size]
    image_columns: Tensor  # [B, W, 1]
    crop_columns: Tensor  # [B, 1, size]


class _JitterTables(NamedTuple):
    """What `apply` looks up for every image that is jittered."""

    matrices: Tensor  # [J, 3, 3, 3], see affine_steps
    mean_weights: Tensor  # [J, 3, 3]
    hue_origins: Tensor  # [J, 3]


_AnyTables = TypeVar("_AnyTables", _Tables, _JitterTables)


def _tables(params: ViewParameters, image_size: tuple[int, int]) -> _Tables:
    """`params` in order."""
    height, width = image_size
    top, left, crop_height, crop_width = params.box.unbind(1)
    upright = torch.zeros_like(params.flip)
    if height == width:  # both sides at once, half the operations
        start, length = torch.cat([top, left]), torch.cat([crop_height, crop_width])
        image, crop = crop_positions(start, length, torch.cat([upright, params.flip]), height, params.size)
        (image_rows, image_columns), (crop_rows, crop_columns) = image.chunk(2), crop.chunk(2)
        return _Tables(image_rows, crop_rows, image_columns, crop_columns)
    return _Tables(
        *crop_positions(top, crop_height, upright, height, params.size),
        *crop_positions(left, crop_width, params.flip, width, params.size),
    )


def _jitter_tables(params: ViewParameters) -> _JitterTables:
    return _JitterTables(*affine_steps(params.order, params.factors), hue_origins(params.hue))


def _split(tables: _AnyTables, portions: list[slice], device: torch.device) -> list[_AnyTables]:
    """Returns the tables of each portion."""
    sizes = [rows.stop - rows.start for rows in portions]
    columns = [table.to(device).split(sizes) for table in tables] if sizes else []
    return [type(tables)(*row) for row in zip(*columns, strict=True)]


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


def _crop(images: Tensor, table: _Tables, unmoved: bool) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, size * size] in 0..1: crop, mirror and resize."""
    if unmoved:
        return images.flatten(1, 2).mT / 255
    rows, columns = (table.image_rows, table.crop_rows), (table.image_columns, table.crop_columns)
    return resize(images, rows, columns)


def _jitter(colours: Tensor, table: _JitterTables, hue_stops: list[int]) -> Tensor:
    """Four steps for images [B, 3, P]: at each, some shift their hue; between two, all take an affine map."""
    for step, (start, stop) in enumerate(pairwise([0, *hue_stops])):
        if stop > start:
            shift_hue_(colours[start:stop], table.hue_origins[start:stop])
        if step < _NUM_STEPS - 1:
            colours = affine_step(colours, table.matrices[:, step], table.mean_weights[:, step])
    return colours


def _blur_and_solarise_(views: Tensor, params: ViewParameters, rows: slice) -> None:
    """Changes the images of a portion [B, 3, size, size] in place that are to be blurred or solarised."""
    if (blurred := params.blur[rows].nonzero()[:, 0]).numel():
        chosen = blurred.to(views.device)
        views[chosen] = blur(views[chosen], params.sigma[rows][blurred].to(views.device))
    if (inverted := params.solarise[rows].nonzero()[:, 0]).numel():
        chosen = inverted.to(views.device)
        views[chosen] = solarise_(views[chosen], params.solarise_threshold)
