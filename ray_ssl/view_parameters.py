"""What happens to each image of a batch, drawn for the whole batch at once on the CPU.

Source: arXiv 2002.05709, appendix A (SimCLR).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from ray_ssl.config import ViewConfig

_CROP_TRIES = 10  # as in torchvision's RandomResizedCrop
_NO_AUGMENTATION = ViewConfig(flip_probability=0, jitter_probability=0, grey_probability=0)


@dataclass(frozen=True)
class ViewParameters:
    """What happens to each image of a batch: CPU tensors, one row an image.

    Attributes:
        size: Height and width of the views in pixels.
        solarise_threshold: Pixels at or above it are inverted in solarised images, 0..1.
        augmented: Whether images may be cropped and mirrored; if not, each is whole.
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
    augmented: bool
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


def concatenate(parts: Sequence[ViewParameters]) -> ViewParameters:
    """Joins parameters of views of one kind: the same size and solarise threshold, all augmented or none."""
    if len(parts) == 1:
        return parts[0]
    columns = {
        k: torch.cat([getattr(part, k) for part in parts]) for k, v in vars(parts[0]).items() if isinstance(v, Tensor)
    }
    return replace(parts[0], **columns)


def draw(
    config: ViewConfig | None,
    num_images: int,
    image_size: tuple[int, int],
    size: int,
    *generators: torch.Generator,
) -> ViewParameters:
    """Draws one view of every image, of one batch for each generator.

    Args:
        config: Strengths and probabilities; None for no augmentation: the whole image, resized.
        num_images: Images of the batch. Workers draw for the global batch and take their rows of it.
        image_size: Height and width of the images in pixels.
        size: Height and width of the views in pixels.
        generators: On the CPU, so that the views are the same on every device; each draws what it would draw alone.

    Returns:
        `num_images` rows for each generator, in their order.
    """

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.empty(len(generators), num_images, *shape, dtype=torch.float64)
        for batch, generator in zip(drawn, generators, strict=True):
            batch.uniform_(low, high, generator=generator)
        return drawn.flatten(0, 1)

    def chance(probability: float) -> Tensor:
        return uniform(0, 1) < probability

    augmented = config is not None
    config = config or _NO_AUGMENTATION
    strengths = torch.tensor([config.brightness, config.contrast, config.saturation], dtype=torch.float64)
    lowest = (1 - strengths).clamp_min(0)
    whole = torch.tensor([0, 0, *image_size]).expand(len(generators) * num_images, 4)
    return ViewParameters(
        size=size,
        solarise_threshold=config.solarise_threshold,
        augmented=augmented,
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
