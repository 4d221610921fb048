"""Colour operations on a batch of planar images, each image with its own parameters.

They agree with `torchvision.transforms.v2.functional` on float images, including where that clamps. Images are
float32 [B, 3, P]: red, green and blue planes of P pixels, 0..1.
"""

import torch
from torch import Tensor

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)  # as torchvision's ColorJitter numbers them
_GREY_WEIGHTS = (0.2989, 0.587, 0.114)  # as in torchvision and Pillow; they sum to 0.9999
_OWN_HUES = (0.0, 1 / 3, 2 / 3)  # of red, green and blue, in turns
_TINY = torch.finfo(torch.float32).tiny


def affine_steps(order: Tensor, factors: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness, contrast and saturation as affine maps of a pixel's colour, in the order drawn.

    All three blend the image with something: black, its mean grey level, its grey version. With g the grey
    weights and f the factor, a colour x becomes f x, f x + (1 - f) mean(g.x), f x + (1 - f) g.x.

    Args:
        order: int64 [B, 4], a permutation of the four jitter operations an image.
        factors: float32 [B, 3] of brightness, contrast, saturation; 0 or more, 1 changes nothing.

    Returns:
        matrices: float32 [B, 3, 3, 3], for each of the three steps the [3, 3] map of a colour.
        mean_weights: float32 [B, 3, 3], for each step the weights of the image's mean red, green and blue in
            the constant that is added; 0 except for contrast.
    """
    operation = order[order != HUE].view(-1, 3)  # [B, 3]
    factor = factors.gather(1, operation)
    grey_share = (1 - factor)[..., None] * torch.tensor(_GREY_WEIGHTS)  # [B, 3, 3]
    saturation = torch.where((operation == SATURATION)[..., None], grey_share, 0.0)
    matrices = factor[..., None, None] * torch.eye(3) + saturation[:, :, None, :]
    return matrices, torch.where((operation == CONTRAST)[..., None], grey_share, 0.0)


def affine_step(images: Tensor, matrices: Tensor, mean_weights: Tensor) -> Tensor:
    """Returns images [B, 3, P] after one of `affine_steps` (matrices [B, 3, 3], weights [B, 3]), in 0..1."""
    constant = (images.mean(2) * mean_weights).sum(1)
    return torch.bmm(matrices, images).add_(constant[:, None, None]).clamp_(0, 1)


def grey_matrices(grey: Tensor) -> Tensor:
    """Returns the maps [B, 3, 3] of a colour that turn the images with `grey` [B] set grey and keep the others."""
    return torch.where(grey[:, None, None], torch.tensor(_GREY_WEIGHTS).expand(3, 3), torch.eye(3))


def hue_origins(shift: Tensor) -> Tensor:
    """Where the hue circle starts for red, green and blue once the hue is shifted.

    Args:
        shift: float32 [B], -0.5..0.5 turns.

    Returns:
        float32 [B, 3], -0.5..0.5 turns.
    """
    origin = shift[:, None] - torch.tensor(_OWN_HUES)
    return origin - origin.round()


def shift_hue_(images: Tensor, origins: Tensor) -> Tensor:
    """Turns the hue of every image in place, in HSV.

    With v, m and c = v - m the largest, smallest and range of (r, g, b), the hue in sixths of a turn is
    +-(1 + (g + b - r - m) / c), with the sign of g - b. A colour whose own hue is d turns away from that has the
    value v - c min(1, max(0, 6 d - 1)). A grey pixel (c = 0) keeps its value whatever its hue.

    Args:
        images: float32 [B, 3, P].
        origins: float32 [B, 3], from `hue_origins`.
    """
    red, green, blue = images.split(1, 1)  # [B, 1, P] each
    low, high = images.amin(1, keepdim=True), images.amax(1, keepdim=True)
    chroma = high.sub(low).clamp_min_(_TINY)
    hue = green.sub(low).add_(blue).sub_(red).div_(chroma).add_(1).copysign_(green - blue)
    # |x| is at most 1 turn, so that its distance to the nearest whole turn is 0.5 - ||x| - 0.5|.
    halves = torch.add(origins[:, :, None], hue, alpha=1 / 6, out=images).abs_().sub_(0.5).abs_()
    torch.addcmul(low - chroma, chroma, halves, value=6, out=images)
    return torch.clamp(images, low, high, out=images)


def solarise_(images: Tensor, threshold: float) -> Tensor:
    """Inverts the values at or above the threshold (0..1) in place."""
    return torch.where(images >= threshold, 1 - images, images, out=images)
