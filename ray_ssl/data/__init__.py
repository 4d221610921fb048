"""Image sources: one file each, all giving a `Dataset` of uint8 images with fine and coarse labels."""

from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.data.load import load_dataset

__all__ = ["Dataset", "ImageSet", "load_dataset"]
