"""Which images: `DataConfig`, the part of a configuration that names a data set, a subset, and a shift."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ray_ssl.errors import did_you_mean
from ray_ssl.part import Count, Part, Seed
from ray_ssl.plugins import plugin_names
from ray_ssl.shift import parse_shift

_NO_SOURCES = (
    "corruptions", "decode", "load", "parquet_files", "shape_outlines", "shape_pixels", "shifts", "streamed"
)  # fmt: skip
"""Modules of `ray_ssl.data` that all sources share."""


class DataConfig(Part):
    """Which images are trained on and measured."""

    ADDED_LATER: ClassVar[tuple[str, ...]] = ("stream", "stream_window", "shift", "num_extra", "validation_fraction")
    """Options that do not identify a study at their defaults, so that studies from before them go on."""

    dataset: str = "shapes"
    """shapes (embedded, nothing to download), cifar10, cifar100, parquet:PATH (also parquet:s3://...) or folder:PATH"""
    num_images: Count | None = None
    """training images: a class-balanced subset of the set (default: all; shapes draws 4000)"""
    num_test_images: Count | None = None
    """test images: a class-balanced subset of the set (default: all; shapes draws 1000)"""
    test_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """share of each class held out for testing where a parquet or folder set has no test split"""
    image_size: Annotated[int, Field(ge=8, le=512)] = 32
    """height and width in pixels; images of another size are resized and centre-cropped"""
    shapes_domain: Literal["photo", "sketch", "both"] = "photo"
    """which domain shapes draws: filled photo, outline sketch, or half of each"""
    data_seed: Seed = 0
    """seed of the shapes images, of the subsets and of the held-out split; shared by all seeds of a sweep"""
    validation_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """share of each class's training images (of the source, with a shift) that is not trained on: learning rate and
    epoch of fine-tuning are chosen on it"""
    stream: bool = False
    """training images stay in their files and are read and decoded while training; for sets that outgrow memory"""
    stream_window: Annotated[int, Field(ge=2)] = 8192
    """streamed Parquet: images held and shuffled together, from row groups read in random order; files of a folder
    are read in random order themselves"""

    shift: str = ""
    """a source and a target domain with the same labels, in both splits, --num-images and --num-test-images in all.
    domains: shapes as photo and as sketch, of all classes or of those in domains:star5,disc. subpopulations: labels are
    the superclasses, half of the classes of each are source (--data-seed chooses), the others target. KIND:STRENGTH:
    other images of the set, changed; KIND is grey, blur, edges, noise or invert, STRENGTH 0 (not at all) to 1. to:SET,
    e.g. to:parquet:PATH: target is another set, classes are matched by name; its images may have no labels (folder:PATH
    without class folders, Parquet without a label column, null or -1) where none are asked for (default: none)"""
    num_extra: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """with a shift: training images of both domains besides --num-images, of which no method sees the labels"""

    @field_validator("dataset")
    @classmethod
    def _known_source(cls, dataset: str) -> str:
        _check_source(dataset)
        return dataset

    @field_validator("shift")
    @classmethod
    def _known_shift(cls, shift: str) -> str:
        if not shift:
            return shift
        parsed = parse_shift(shift)
        if parsed.target:
            _check_source(parsed.target)
        return parsed.text

    @model_validator(mode="after")
    def _shiftable(self) -> Self:
        if not self.shift:
            return self
        if self.stream:
            raise ValueError(f"--stream goes with no --shift, given {self.shift!r}: leave out one of them")
        if parse_shift(self.shift).kind == "domains":
            if self.source != "shapes":
                raise ValueError(
                    f"--shift domains is for shapes, the --dataset is {self.dataset!r}: to:SET has another set as "
                    "target"
                )
            if self.shapes_domain != "photo":
                raise ValueError(f"--shift domains draws both domains: leave out --shapes-domain {self.shapes_domain}")
        return self

    @model_validator(mode="after")
    def _streamable(self) -> Self:
        if self.stream and not self.path:
            raise ValueError(f"--stream is for parquet:PATH and folder:PATH, {self.dataset} is always held in memory")
        return self

    @model_validator(mode="after")
    def _divisible_in_memory(self) -> Self:
        if self.stream and self.validation_fraction:
            raise ValueError("--validation-fraction is for training images in memory, not for --stream")
        return self

    def without_effect(self) -> dict[str, str]:
        whole = self.stream and self.source == "parquet"
        unmet = {} if whole else {"stream_window": "--stream and --dataset parquet:PATH"}
        return unmet if self.shift else unmet | {"num_extra": "--shift"}

    def sets(self) -> list[Self]:
        """Returns the configurations, without a shift, of the sets that are loaded: one, or source and target."""
        names = [self.dataset]
        if self.shift and (target := parse_shift(self.shift).target):
            names.append(target)
        plain = {"shift": "", "num_extra": 0}
        return [self.model_copy(update=plain | {"dataset": name}) for name in names]

    @property
    def source(self) -> str:
        """The kind of source, without its path."""
        return self.dataset.partition(":")[0]

    @property
    def path(self) -> str:
        """The path of a parquet or folder source, else the empty string."""
        return self.dataset.partition(":")[2]


def sources() -> list[str]:
    """Returns the names of the modules that load a kind of images; found without importing them."""
    return [name for name in plugin_names("ray_ssl.data") if name not in _NO_SOURCES]


def _check_source(dataset: str) -> None:
    """Raises ValueError for a name that is none of a source, or for one without the path it needs."""
    source, _, path = dataset.partition(":")
    known = [n for n in sources() if n != "cifar"] + ["cifar10", "cifar100"]
    if source not in known and "/" in source:
        ways = "give images in a folder as folder:PATH, Parquet files as parquet:PATH"
        raise ValueError(f"unknown dataset {dataset!r}: {ways}")
    if source not in known:
        raise ValueError(f"unknown dataset {dataset!r}{did_you_mean(source, known)}")
    if (source in ("parquet", "folder")) != bool(path):
        raise ValueError(f"{source} {'takes no path' if path else f'needs a path: {source}:PATH'}")
