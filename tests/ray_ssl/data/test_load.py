"""`load_dataset`: options that do not fit are refused, names are short."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig, sources
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module
from tests.ray_ssl.data.images import random_images, write_folder


def test_shapes_domain_is_refused_for_other_sources() -> None:
    with pytest.raises(UserError, match="--shapes-domain 'sketch' is for shapes only, the dataset is 'cifar10'"):
        load_dataset(DataConfig(dataset="cifar10", shapes_domain="sketch"))


def test_every_source_that_is_named_can_load() -> None:
    for name in sources():
        assert callable(plugin_module("ray_ssl.data", name).load), name
    with pytest.raises(ValidationError, match="unknown dataset 'shape_pixels'; did you mean 'shapes'"):
        DataConfig(dataset="shape_pixels")


def test_one_class_is_refused() -> None:
    with pytest.raises(UserError, match="1 training images are of 1 class, at least 2 classes are needed"):
        load_dataset(DataConfig(num_images=1, num_test_images=20))


def test_names_for_tables(tmp_path: Path) -> None:
    write_folder(tmp_path / "birds", {"a": random_images(2), "b": random_images(2)})
    assert load_dataset(DataConfig(num_images=20, num_test_images=20)).name == "shapes"
    assert load_dataset(DataConfig(num_images=20, num_test_images=20, shapes_domain="both")).name == "shapes-both"
    assert load_dataset(DataConfig(dataset=f"folder:{tmp_path / 'birds'}/")).name == "birds"
