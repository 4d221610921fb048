"""What one trial computes: frozen, typed, validated, with one canonical JSON form.

`PretrainConfig` holds everything that changes numbers and nothing else: storage, tracking and machine
settings live with the commands. Method and backbone configurations are defined beside their code and are
found here by name.
"""

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from ray_ssl.data_config import DataConfig
from ray_ssl.part import Count, NonNegative, Part, Positive, Probability, Seed, plugin_config
from ray_ssl.trial_config import TrialConfig

_PROBED = " (probed head)"
"""Marks trials that begin with the head of a linear probe, in names that are keys in tables."""


class ViewConfig(Part):
    """The SimCLR augmentation protocol (arXiv 2002.05709, appendix A); defaults for 32-pixel images."""

    crop_scale: tuple[Probability, Probability] = (0.08, 1.0)
    """smallest and largest area of the random resized crop, as a share of the image"""
    crop_ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)
    """smallest and largest aspect ratio (width / height) of the crop"""
    flip_probability: Probability = 0.5
    """probability of a horizontal flip"""
    jitter_probability: Probability = 0.8
    """probability that an image's colours are jittered at all"""
    brightness: NonNegative = 0.4
    """brightness factor is drawn from [1 - x, 1 + x]"""
    contrast: NonNegative = 0.4
    """contrast factor is drawn from [1 - x, 1 + x]"""
    saturation: NonNegative = 0.4
    """saturation factor is drawn from [1 - x, 1 + x]"""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """hue shift is drawn from [-x, x], in turns of the colour circle"""
    grey_probability: Probability = 0.2
    """probability that an image is turned grey"""
    blur_probability: Probability = 0.0
    """probability of a Gaussian blur"""
    blur_sigma: tuple[Positive, Positive] = (0.1, 2.0)
    """smallest and largest standard deviation of the blur, in pixels"""
    solarise_probability: Probability = 0.0
    """probability that pixels above the threshold are inverted"""
    solarise_threshold: Probability = 0.5
    """pixels at or above it are inverted when solarised; 0 is black, 1 is white"""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("crop_scale", "crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} goes from small to large, given {low} {high}")
        if self.crop_scale[0] == 0:
            raise ValueError("crop_scale starts above 0, given 0")
        return self

    def without_effect(self) -> dict[str, str]:
        needs = {
            "blur_sigma": "blur_probability",
            "solarise_threshold": "solarise_probability",
            **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), "jitter_probability"),
        }
        unmet = {option: name for option, name in needs.items() if getattr(self, name) == 0}
        return {option: f"--{name.replace('_', '-')} above 0" for option, name in unmet.items()}


class BackboneConfig(Part):
    """Base of every backbone's options; `name` is the module in `ray_ssl.backbones`."""

    name: str

    def check_fits(self, image_size: int) -> None:
        """Refuses images that the network cannot take.

        Raises:
            UserError: With what would do.
        """


class MethodConfig(Part):
    """Base of every method's options; `name` is the module in `ray_ssl.methods`."""

    RECOMMENDED: ClassVar[dict[str, Any]] = {}
    """Options outside the method, by dotted path, that take these values where nothing else is given."""
    ADDED_LATER: ClassVar[tuple[str, ...]] = ()
    """Options that a trial's key leaves out at their defaults, so that trials from before them keep their keys."""
    LEARNS_FROM: ClassVar[Literal["images", "labels", "domains"]] = "images"
    """images alone; labels, one of every image; domains: a source with labels and images of others without"""
    TELLS_DOMAINS: ClassVar[bool] = False
    """takes every image without a label for one of the target, so that extra images of the source would mislead it"""

    name: str

    def check_fits(self, global_batch_size: int, num_images: int) -> None:
        """Refuses a training set or a batch that the method cannot work with.

        Raises:
            UserError: With the arithmetic.
        """

    def check_views(self, views: ViewConfig, image_size: int) -> None:
        """Refuses augmentations from which the method's views cannot be made.

        Raises:
            UserError: With what would do.
        """


AnyBackbone = Annotated[SerializeAsAny[BackboneConfig], plugin_config("ray_ssl.backbones", BackboneConfig)]
AnyMethod = Annotated[SerializeAsAny[MethodConfig], plugin_config("ray_ssl.methods", MethodConfig)]


class OptimiserConfig(Part):
    """How weights are updated; defaults as in arXiv 2305.15614's authors' code. Methods may recommend others."""

    optimiser: Literal["sgd", "lars", "adamw"] = "sgd"
    """sgd, lars (arXiv 1708.03888) or adamw (arXiv 1711.05101)"""
    learning_rate: Positive = 0.06
    """peak learning rate per 128 images; the rate used is this x global batch size / 128"""
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """momentum of sgd and lars; average of gradients of adamw, beta1"""
    weight_decay: NonNegative = 5e-4
    """weight decay; never applied to biases and norms"""
    trust_coefficient: Positive = 0.001
    """lars: step of a layer relative to its weights, eta; biases and norms take plain sgd steps"""

    def without_effect(self) -> dict[str, str]:
        return {} if self.optimiser == "lars" else {"trust_coefficient": "--optimiser lars"}


class TrainingConfig(Part):
    """How long, in what portions, at what precision."""

    ADDED_LATER: ClassVar[tuple[str, ...]] = ("train_domains",)
    """As of `MethodConfig`."""

    epochs: Count = 100
    """passes over the training images"""
    global_batch_size: Annotated[int, Field(ge=2, lt=2**31)] = 256
    """images per optimiser step, over all workers of a trial"""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """share of all steps in which the learning rate rises linearly, before its cosine decay to 0"""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """arithmetic of the network; auto: bf16 where the hardware has it, else fp32 (recorded with the trial)"""
    num_checkpoints: Annotated[int, Field(ge=2, lt=2**31)] = 8
    """checkpoints kept for analysis: epoch 0, the last epoch, and log-spaced ones between"""
    knn_every: Count = 1
    """epochs between two evaluations of the online kNN accuracy and the collapse check"""
    train_domains: Literal["all", "both", "source"] = "all"
    """with a shift, images that are trained on: of source and target, and num_extra (all); without num_extra (both); of
    the source alone. All are measured, and normalised alike; an epoch goes once through those that are trained on"""


class PretrainConfig(TrialConfig):
    """One trial: everything that changes its numbers."""

    data: DataConfig = DataConfig()
    views: ViewConfig = ViewConfig()
    backbone: AnyBackbone = Field(default={"name": "res_lh"}, validate_default=True)  # type: ignore[assignment]
    method: AnyMethod = Field(default={"name": "vicreg"}, validate_default=True)  # type: ignore[assignment]
    optimiser: OptimiserConfig = OptimiserConfig()
    training: TrainingConfig = TrainingConfig()
    seed: Seed = 0
    """seed of the weights, the views and the order of the images"""
    num_workers: Count = 1
    """data-parallel processes of one trial (each its own GPU or CPU share)"""

    @model_validator(mode="after")
    def _recommended(self) -> Self:
        """Options that were not given take the values that the method recommends; rates of one optimiser suit no other.

        Raises:
            ValueError: Another optimiser than the method's own, without a learning rate.
        """
        own = self.method.RECOMMENDED.get("optimiser.optimiser", OptimiserConfig.model_fields["optimiser"].default)
        given = self.optimiser.model_fields_set
        other = "optimiser" in given and self.optimiser.optimiser != own
        if other and "learning_rate" not in given:
            raise ValueError(
                f"the learning rate of {self.method.name} is meant for {own}: --optimiser {self.optimiser.optimiser} "
                "needs a --learning-rate of its own"
            )
        for path, value in self.method.RECOMMENDED.items():
            name, leaf = path.split(".")
            part: Part = getattr(self, name)
            if other and name == "optimiser":
                continue
            if leaf not in part.model_fields_set:
                object.__setattr__(self, name, part.model_copy(update={leaf: value}))
        return self

    @model_validator(mode="after")
    def _divisible(self) -> Self:
        if self.training.global_batch_size % self.num_workers:
            raise ValueError(
                f"global_batch_size {self.training.global_batch_size} cannot be split evenly over "
                f"num_workers {self.num_workers}"
            )
        return self

    def without_effect(self) -> dict[str, str]:
        """As for every part, by dotted path.

        Stored configurations hold every option, so whether one was asked for is known to the command line alone,
        which refuses it.
        """
        parts = {name: value for name in type(self).model_fields if isinstance(value := getattr(self, name), Part)}
        unmet = {f"{name}.{o}": need for name, part in parts.items() for o, need in part.without_effect().items()}
        return unmet if self.data.shift else unmet | {"training.train_domains": "--shift"}

    @property
    def trained_on(self) -> str:
        """Name of the labels that the method learns from, where it learns from any."""
        return getattr(self.method, "target", "class").partition("@")[0]

    @property
    def variant(self) -> str:
        """What tells trials of one method apart for people: " on superclass", " (no augmentation)", else ""."""
        labels = "" if self.trained_on == "class" else f" on {self.trained_on}"
        plain = "" if getattr(self.method, "augment", True) else " (no augmentation)"
        start = getattr(self.method, "start", "").partition("@")[0]
        head = _PROBED if start and getattr(self.method, "head", "") == "probe" else ""
        frozen = " (frozen BatchNorm)" if start and getattr(self.method, "batch_norm", "") == "frozen" else ""
        domains = f" ({self._domains})" if self.data.shift and not start else ""  # a start is trained on the source
        return labels + (f" from {start}" if start else "") + head + frozen + plain + domains

    @property
    def _domains(self) -> str:
        """The domains that are trained on."""
        if self.training.train_domains == "source":
            return "source"
        extra = self.data.num_extra > 0 and self.training.train_domains == "all"
        return "source + target" + " + extra" * extra

    @property
    def title(self) -> str:
        """Of method, network and seed, e.g. "vicreg 5-64 seed 0"; of fine-tuning with LP-FT or FT as the method."""
        backbone = self.backbone.model_dump()
        shape = f"{backbone['depth']}-{backbone['width']}" if {"depth", "width"} <= set(backbone) else backbone["name"]
        name, variant = self.method.name, self.variant
        if getattr(self.method, "start", ""):
            name = f"LP-FT{_PROBED}" if _PROBED in variant else "FT (fresh head)"
        return f"{name} {shape} seed {self.seed}{variant.replace(_PROBED, '')}"

    @property
    def plain_method(self) -> str:
        return self.method.name

    @property
    def method_name(self) -> str:
        """Supervised training differs by views and by labels too."""
        return self.method.name + self.variant

    @property
    def num_epochs(self) -> int:
        return self.training.epochs

    def paced(self) -> dict[str, Any]:
        """Returns all but seed, length, labels and optimiser numbers."""
        values = self.to_dict()
        values["method"].pop("target", None)
        values["training"] = {k: v for k, v in values["training"].items() if k not in ("epochs", "num_checkpoints")}
        values["optimiser"] = values["optimiser"]["optimiser"]
        return {**values, "seed": 0}


def replace(config: PretrainConfig, changes: dict[str, Any]) -> PretrainConfig:
    """Returns a copy with options changed by dotted path, e.g. {"backbone.depth": 5, "seed": 1}.

    Raises:
        UserError: An unknown path or a value out of range.
    """
    values = config.to_dict()
    for path, value in changes.items():
        *parents, leaf = path.split(".")
        node = values
        for parent in parents:
            node = node[parent]
        node[leaf] = value
    return PretrainConfig.from_dict(values)


def trial_key(config: PretrainConfig, data_fingerprint: str) -> str:
    """Returns 16 hex digits that identify everything that changes the numbers of a trial.

    The data enters by content (`data_fingerprint`), not by the path it was read from.
    """
    values = config.to_dict()
    values["data"] = {"fingerprint": data_fingerprint}
    for name, part in (("method", config.method), ("training", config.training)):
        for option in part.ADDED_LATER:
            if values[name][option] == type(part).model_fields[option].default:
                del values[name][option]
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
