"""`python -m analysis encoder SOURCE --dataset NAME`: measures every layer of a network that was trained elsewhere.

SOURCE is torchvision:NAME, or a file of weights for one of our backbones. What is measured goes into the same table
as that of checkpoints (method "foreign"), in a folder of its own or in that of a sweep:

    STORAGE/measurements/        the table's parts
    STORAGE/KEY/encoder.json     what was measured; the key is a hash of the weights and of how they are used
    STORAGE/figures/
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from analysis import stored, table
from analysis.command import FIGURES, REPORT, draw
from analysis.flags import refuse_other_numbers
from analysis.images import measured_images
from analysis.measurable import measurable
from analysis.measure import measure_backbone
from analysis.pipeline import MEASUREMENTS
from analysis.saturation import saturated_lines
from analysis.settings import check_pair, read_settings, with_targets
from analysis.survey import sweep_name
from analysis.table import FOREIGN
from analysis.tasks import TARGETS, find_tasks, groups_of_data, metric_and_group
from analysis.warned import by_kind, recorded
from analysis.weights import fit_weights, read_weights
from ray_ssl import interrupts
from ray_ssl.backbones.base import Backbone, build_backbone
from ray_ssl.config import BackboneConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import EXIT_DONE, EXIT_SOME_FAILED, UserError, print_error
from ray_ssl.ledger import Ledger
from ray_ssl.part import explain
from ray_ssl.plugins import plugin_module, plugin_names
from ray_ssl.storage import Storage
from ray_ssl.targets import attach_targets, whole_targets

RECORD = "encoder.json"
log = logging.getLogger("analysis")
TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Encoder:
    """A network and how its images are made.

    Attributes:
        backbone: In evaluation mode.
        options: Its name and options, as JSON values.
        image_size: Pixels.
        mean: Of the channels, on the 0..1 scale.
        std: Of the channels.
        origin: Of "mean" and of "std", in words.
    """

    backbone: Backbone
    options: dict[str, Any]
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    origin: dict[str, str]

    def card(self) -> dict[str, Any]:
        """Returns what `measure_backbone` must know."""
        normalisation = {"mean": list(self.mean), "std": list(self.std)}
        return {"config": {"data": {"image_size": self.image_size}}, "normalisation": normalisation}

    def key(self, data_fingerprint: str) -> str:
        """Returns 16 hex digits that identify all that changes the measured features."""
        used = {"backbone": self.options, **self.card(), "data": data_fingerprint}
        digest = hashlib.sha256(json.dumps(used, sort_keys=True, allow_nan=False).encode())
        for name, tensor in sorted(self.backbone.state_dict().items()):
            if not name.endswith("num_batches_tracked"):  # unused in evaluation
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
        return digest.hexdigest()[:16]


def run(flags: argparse.Namespace) -> int:
    """Measures one encoder, or what is not measured of it yet; returns the exit code.

    Raises:
        UserError: A source, an option or a combination that cannot work; images that allow none of what is asked for;
            features that are not finite.
    """
    settings, wanted = (
        read_settings(flags),
        find_tasks(flags.metrics, flags.levels, groups_of_data(flags.data.get("shift", ""))),
    )
    if not (0 <= flags.epoch < 2**31 and 0 <= flags.seed < 2**63) or min(flags.std or [1]) <= 0:
        raise UserError("--epoch is 0 to 2^31 - 1, --seed 0 to 2^63 - 1, --std is above 0")
    if "dataset" not in flags.data:
        raise UserError(
            "--dataset says which images are measured: shapes, cifar10, cifar100, parquet:PATH, folder:PATH"
        )
    storage = Storage.at(flags.storage)
    targets = whole_targets(storage)
    groups = {metric_and_group(task)[1] for task in wanted}
    settings = with_targets(settings, targets, wanted if groups == {TARGETS} else ())
    encoder, dataset = load_encoder(flags)
    if TARGETS in groups:
        dataset = attach_targets(dataset, targets)
    wanted, errors = measurable(dataset, settings, wanted)
    check_pair(settings, wanted, encoder.backbone.layer_names)
    key = encoder.key(dataset.fingerprint)
    present = stored.present(storage, {task: settings.of(task) for task in wanted})
    refuse_other_numbers(storage, settings, wanted, [key], "another --storage")
    lacking = [task for task in wanted if (key, flags.epoch, task) not in present]
    images = measured_images(dataset, settings, wanted)
    print(f"encoder {key}: {len(encoder.backbone.layer_names)} layers, {len(images.dataset.train)} training and "
          f"{len(images.dataset.test)} test images of {dataset.name}"
          f"{'' if lacking else ', measured already'}", flush=True)  # fmt: skip
    for name, values in (("mean", encoder.mean), ("std", encoder.std)):
        print(f"{name:9} {' '.join(f'{value:.4f}' for value in values)} ({encoder.origin[name]})")
    if lacking:
        record = {"source": flags.source, **encoder.card(), "backbone": encoder.options, "data": dataset.fingerprint}
        storage.child(key).write_sealed(RECORD, record | {"layer_names": list(encoder.backbone.layer_names)})
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            with recorded() as warned:
                found = measure_backbone(encoder.backbone, encoder.card(), images, lacking, device)
        except ValueError as error:  # features that are not finite
            raise UserError(f"{flags.source}: {error}") from None
        for line in by_kind(("", warning) for warning in warned):
            log.warning(line)
        about = _describe(flags, encoder, sweep_name(storage), key, dataset.name)
        for task, rows in found.items():
            stored.write(storage, about, task, rows, settings.of(task))
    code = show(storage)
    for error in errors:
        print_error(f"not analysed: {error}")
    return EXIT_SOME_FAILED if errors else code


def is_folder_of_encoders(storage: Storage) -> bool:
    """Returns whether an encoder was measured into this folder."""
    return any(storage.exists(f"{name}/{RECORD}") for name in storage.names())


def show(storage: Storage) -> int:
    """Draws the figures of a folder's table, writes the report, says where all are; returns the exit code."""
    from analysis.report import make_report  # matplotlib takes a second to import

    measurements: Any = table.read_table(storage.filesystem, storage.path(MEASUREMENTS))
    with interrupts.orderly(), tempfile.TemporaryDirectory(prefix="ray_ssl_") as scratch:
        drawn = draw(storage, measurements, stored.read_projections(storage), Path(scratch))
        storage.write(REPORT, make_report(Ledger(storage), measurements, Path(scratch)))
    for line in saturated_lines(measurements):
        print(line)
    print(f"table     {storage.address(MEASUREMENTS)} ({len(measurements)} measurements)")
    print(f"figures   {storage.address(FIGURES) if drawn else 'none: these measurements are of no figure'}")
    print(f"report    {storage.address(REPORT)}")
    return EXIT_DONE


def load_encoder(flags: argparse.Namespace) -> tuple[Encoder, Dataset]:
    """Returns what the flags ask for, and the images.

    Raises:
        UserError: As `run`.
    """
    config = _read_config(DataConfig, flags.data)
    size = config.image_size if "image_size" in flags.data else None
    statistics = None
    if flags.source.startswith(TORCHVISION):
        from analysis.torchvision_models import as_backbone, load_torchvision

        _refuse(flags, "a file of weights", backbone=flags.backbone, key_prefix=flags.key_prefix,
                **flags.backbone_options)  # fmt: skip
        if flags.weights is None:
            raise UserError(f"{flags.source} needs --weights: default (a download) or none (random)")
        pretrained = load_torchvision(flags.source.removeprefix(TORCHVISION), flags.weights, flags.seed)
        size, statistics = size or pretrained.image_size or config.image_size, pretrained.statistics
        backbone, options = as_backbone(pretrained.network, size), {"name": flags.source}
    else:
        _refuse(flags, TORCHVISION + "NAME", weights=flags.weights)
        size = size or config.image_size
        backbone, options = _from_file(flags, size)
    config = config.model_copy(update={"image_size": size})
    dataset = load_dataset(config)
    mean, std = statistics or dataset.channel_statistics
    whose = "torchvision's for these weights" if statistics else f"of {dataset.name}'s training images"
    origin = {"mean": "as given" if flags.mean else whose, "std": "as given" if flags.std else whose}
    backbone.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Encoder(backbone, options, size, tuple(flags.mean or mean), tuple(flags.std or std), origin), dataset


def _from_file(flags: argparse.Namespace, image_size: int) -> tuple[Backbone, dict[str, Any]]:
    if flags.backbone is None:
        raise UserError(f"{flags.source!r} needs --backbone: one of {', '.join(plugin_names('ray_ssl.backbones'))}")
    values = {"name": flags.backbone, **flags.backbone_options}
    config = _read_config(plugin_module("ray_ssl.backbones", flags.backbone).Config, values)
    assert isinstance(config, BackboneConfig)
    path = Path(flags.source).expanduser()
    weights = read_weights(path)
    backbone = build_backbone(config, image_size)
    fit_weights(backbone, weights, flags.key_prefix, f"{path.name} does not fit {flags.backbone}")
    return backbone, config.model_dump(mode="json")


def _read_config(config_type: Any, texts: dict[str, str]) -> Any:
    try:
        return config_type.model_validate_strings(texts)
    except ValidationError as error:
        raise UserError(explain(error, config_type)) from None


def _refuse(flags: argparse.Namespace, owner: str, **given: Any) -> None:
    for name, value in given.items():
        if value:
            raise UserError(f"--{name.replace('_', '-')} belongs to {owner}, not to {flags.source}")


def _describe(flags: argparse.Namespace, encoder: Encoder, sweep: str, key: str, dataset: str) -> table.Checkpoint:
    depth, width = encoder.options.get("depth", 0), encoder.options.get("width", 0)
    return table.Checkpoint(sweep, key, FOREIGN, depth, width, flags.seed, dataset, flags.epoch)
