"""cifar10 and cifar100: torchvision's files (checked by MD5 before they are read), with CIFAR-100's superclasses."""

import os
from pathlib import Path
from typing import Final

import numpy as np
from filelock import FileLock
from torchvision import datasets

from ray_ssl.data.base import Dataset, ImageSet
from ray_ssl.data.decode import resize
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError

SUPERCLASSES: Final = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
COARSE_NAMES: Final = tuple(SUPERCLASSES)
FINE_NAMES: Final = tuple(sorted(name for names in SUPERCLASSES.values() for name in names))
FINE_TO_COARSE: Final = np.array(
    [next(i for i, names in enumerate(SUPERCLASSES.values()) if fine in names) for fine in FINE_NAMES], np.int64
)  # [100]


def load(config: DataConfig) -> Dataset:
    """Returns CIFAR-10 (no superclasses) or CIFAR-100 (100 classes in 20 superclasses), downloaded where missing.

    The files stand in $RAY_SSL_DATA, or ~/.cache/ray_ssl where that is not set.

    Raises:
        UserError: The folder cannot be written, the download fails, or a file is not the published one.
    """
    root = cache_folder()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{config.source}.lock"):  # several processes may start at once
            train, test = (_split(config, root, is_train) for is_train in (True, False))
    except (OSError, RuntimeError) as error:  # torchvision's for "no network" and "not the published file"
        archive = "cifar-10-python.tar.gz" if config.source == "cifar10" else "cifar-100-python.tar.gz"
        raise UserError(
            f"{config.source} could not be had ({str(error).splitlines()[0] if str(error) else type(error).__name__}): "
            f"put {archive} into {root}, set RAY_SSL_DATA to a folder that has it, or use --dataset parquet:PATH"
        ) from None
    return Dataset(config.source, train, test)


def cache_folder() -> Path:
    """Returns the folder for downloads: $RAY_SSL_DATA or ~/.cache/ray_ssl."""
    return Path(os.environ.get("RAY_SSL_DATA") or "~/.cache/ray_ssl").expanduser()


def _split(config: DataConfig, root: Path, is_train: bool) -> ImageSet:
    source = datasets.CIFAR10 if config.source == "cifar10" else datasets.CIFAR100
    found = source(str(root), train=is_train, download=True)
    images, fine = resize(np.ascontiguousarray(found.data), config.image_size), np.array(found.targets, np.int64)
    if config.source == "cifar10":
        return ImageSet(images, fine, tuple(found.classes))
    assert tuple(found.classes) == FINE_NAMES
    return ImageSet(images, fine, FINE_NAMES, FINE_TO_COARSE[fine], COARSE_NAMES)
