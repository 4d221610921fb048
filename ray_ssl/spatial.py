"""Crop, resize, mirror and blur as one matrix a side of an image, each image with its own."""

import torch
from torch import Tensor
from torch.nn.functional import pad

_OUTSIDE = 1e9  # position of the pixels outside the crop: too far away to matter


def crop_positions(
    start: Tensor, length: Tensor, mirrored: Tensor, in_size: int, out_size: int
) -> tuple[Tensor, Tensor]:
    """Positions of the pixels of an image and of its crop along one side, in units of the filter's reach.

    The filter is a triangle of radius one pixel, or of radius `scale` where the crop shrinks by `scale`
    (torchvision's bilinear resize with antialias).

    Args:
        start: int64 [B], first pixel of the crop.
        length: int64 [B], pixels of the crop.
        mirrored: bool [B].
        in_size: Pixels of the image.
        out_size: Pixels that the crop is resized to.

    Returns:
        float32 [B, in_size, 1] of the image's pixels and [B, 1, out_size] of the crop's.
    """
    scale = length[:, None] / out_size
    reach = scale.clamp_min(1)
    crop = (torch.arange(out_size) + 0.5) * scale  # [B, out]
    crop = torch.where(mirrored[:, None], crop.flip(1), crop)
    image = torch.arange(in_size) - start[:, None]  # [B, in]
    inside = (image >= 0) & (image < length[:, None])
    image = torch.where(inside, image + 0.5, _OUTSIDE)
    return (image / reach)[:, :, None], (crop / reach)[:, None, :]


def resize(images: Tensor, rows: tuple[Tensor, Tensor], columns: tuple[Tensor, Tensor]) -> Tensor:
    """Crops, mirrors and resizes.

    Args:
        images: uint8 [B, H, W, 3].
        rows: `crop_positions` along the height.
        columns: `crop_positions` along the width.

    Returns:
        float32 [B, 3, P], P = rows x columns of the crop, 0..1.
    """
    num_images, height, width, _ = images.shape
    # Transposing one side at a time turns interleaved colours into planes at no cost:
    # [B, H, (W 3)] -> [B, (W 3), h] = [B, W, (3 h)] -> [B, (3 h), w].
    images = images.reshape(num_images, height, -1).float()
    tall = torch.bmm(images.transpose(1, 2), _triangles(*rows)).view(num_images, width, -1)
    return torch.bmm(tall.transpose(1, 2), _triangles(*columns, total=1 / 255)).view(num_images, 3, -1)


def _triangles(image: Tensor, crop: Tensor, total: float = 1) -> Tensor:
    """Returns the weights [B, in, out] of the image's pixels in each of the crop's; they sum to `total` over `in`."""
    weights = (image - crop).abs_().sub_(1).clamp_max_(0)  # all negative; the sign falls out
    return weights.div_(weights.sum(1, keepdim=True).div_(total))


def blur_radius(size: int) -> int:
    """Returns the pixels on either side that a blur looks at: a kernel of 10 % of the image, at least 3 wide."""
    return max(1, size // 20)


def blur(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with mirrored borders.

    Args:
        images: float32 [B, 3, size, size].
        sigma: float32 [B], standard deviation in pixels.
    """
    size = images.shape[-1]
    radius = blur_radius(size)
    offset = torch.arange(-radius, radius + 1, device=sigma.device)
    weights = (-0.5 * (offset / sigma[:, None]).square()).softmax(1)  # [B, K]
    pixel = torch.arange(size, device=sigma.device)
    source = pad(pixel.float()[None], (radius, radius), mode="reflect")[0].long().unfold(0, 2 * radius + 1, 1)
    taps = torch.nn.functional.one_hot(source, size).to(weights)  # [size, K, size]
    matrices = torch.einsum("bk,oki->bio", weights, taps)  # [B, size, size]
    sideways = torch.bmm(images.flatten(1, 2), matrices).view_as(images).mT
    return torch.bmm(sideways.flatten(1, 2), matrices).view_as(images).mT
