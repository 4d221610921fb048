"""`load_dataset`: from a `DataConfig` to the images it names."""

from dataclasses import replace

import numpy as np

from ray_ssl.data.base import SOURCE, UNLABELLED, Dataset, ImageSet, balanced_rows
from ray_ssl.data.decode import check_count
from ray_ssl.data.shifts import load_shifted
from ray_ssl.data.streamed import StreamedSet
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module

Split = ImageSet | StreamedSet


def load_dataset(config: DataConfig, needs_labels: bool = True) -> Dataset:
    """Returns the training and the test set that `config` names, subsets taken; a pure function of config and files.

    Each source is one module of this package with `load(config) -> Dataset`. A source may take the subsets
    itself, as `ImageSet.balanced_subset` would; where it did not, they are taken here.

    Args:
        config: With or without a shift.
        needs_labels: Else images without a label have `UNLABELLED`, as those of the target of a shift always may.

    Raises:
        UserError: An option that does not fit the source, fewer than 2 classes, an empty split, more images
            asked for than there are, or whatever the source or the shift finds wrong.
    """
    dataset = load_shifted(config, _load_plain) if config.shift else _load_plain(config, needs_labels)
    if config.validation_fraction:
        dataset = hold_out(dataset, config.validation_fraction, config.data_seed)
    _check(dataset, config, needs_labels)
    return dataset


def _load_plain(config: DataConfig, needs_labels: bool = True) -> Dataset:
    """As `load_dataset`, without a shift."""
    default_domain = DataConfig.model_fields["shapes_domain"].default
    if config.source != "shapes" and config.shapes_domain != default_domain:
        raise UserError(
            f"--shapes-domain {config.shapes_domain!r} is for shapes only, the dataset is {config.dataset!r}: "
            f"leave it at {default_domain!r}"
        )
    module = "cifar" if config.source.startswith("cifar") else config.source
    load = plugin_module("ray_ssl.data", module).load
    dataset: Dataset = load(config) if needs_labels or not config.path else load(config, needs_labels=False)
    return replace(
        dataset,
        train=_subset(dataset.train, "num_images", config.num_images, config.data_seed),
        test=_subset(dataset.test, "num_test_images", config.num_test_images, config.data_seed),
    )


def hold_out(dataset: Dataset, share: float, seed: int) -> Dataset:
    """Returns the images with a class-balanced share of the source's training ones held out as `validation`.

    Args:
        dataset: Without domains, all its training images are the source's.
        share: 0 < share < 1; at least one image is held out.
        seed: Chooses which.
    """
    train = dataset.train
    assert isinstance(train, ImageSet)
    source = np.arange(len(train)) if train.domain is None else np.flatnonzero(train.domain == SOURCE)
    kept = source[balanced_rows(train.fine[source], len(source) - max(1, round(share * len(source))), seed)]
    others = np.setdiff1d(source, kept)
    rest = np.setdiff1d(np.arange(len(train)), others)
    return replace(dataset, train=train.take(rest), validation=train.take(others))


def _subset(split: Split, option: str, asked: int | None, seed: int) -> Split:
    check_count(option, asked, len(split))
    return split if asked is None or asked == len(split) else split.balanced_subset(asked, seed)


def _check(dataset: Dataset, config: DataConfig, needs_labels: bool) -> None:
    for name, split in (("training", dataset.train), ("test", dataset.test)):
        if len(split) == 0:
            raise UserError(f"{config.dataset}: the {name} split is empty, it needs at least 1 image")
    num_classes = len(np.unique(dataset.train.fine[dataset.train.fine != UNLABELLED]))
    if needs_labels and num_classes < 2:
        raise UserError(
            f"{config.dataset}: the {len(dataset.train)} training images are of {num_classes} class, "
            "at least 2 classes are needed"
        )
