"""Flags of the analysis: those that both commands share, and those of an encoder."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from pydantic import ValidationError

from analysis import stored, table
from analysis.parts import without_pair
from analysis.settings import FP32, IMAGE_NUMBERS, PAIR, SAMPLE_NUMBERS, AnalysisSettings, add_numbers, add_task_flags
from analysis.tasks import ESTIMATED, GROUPS, find_tasks
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.flags import Parser, add_storage_flag
from ray_ssl.ledger import MEASUREMENTS
from ray_ssl.part import Part, explain, placeholder
from ray_ssl.plugins import plugin_module, plugin_names
from ray_ssl.shift import KINDS
from ray_ssl.storage import Storage

_SHARED: Final = {field.name for field in fields(AnalysisSettings)} - {*PAIR, *ESTIMATED, "num_graph_images"}
"""Settings that all tasks of a table agree in; what is a metric's own is compared only where it is measured."""


MEASURE_AGAIN: Final = "--metrics and --levels that measure these again too"


def add_measure_flags(parser: argparse.ArgumentParser) -> None:
    """Adds what is measured, and of how many images."""
    add_task_flags(parser)
    add_numbers(parser, IMAGE_NUMBERS)


def refuse_other_numbers(
    storage: Storage,
    settings: AnalysisSettings,
    tasks: Sequence[str],
    keys: Collection[str] | None = None,
    way: str = MEASURE_AGAIN,
) -> None:
    """Checks that a table will not mix what was measured with different settings.

    Args:
        storage: Folder of the table's parts.
        settings: With which `tasks` are measured now.
        tasks: See `analysis.tasks`; any other in the table stays as it is.
        keys: Trials that are measured now, any other in the table stays as it is; None: all.
        way: What a command with these settings would have to ask for.

    Raises:
        UserError: It would.
    """
    every = set(find_tasks(["all"], list(GROUPS)))
    differing: dict[str, tuple[object, object]] = {}
    names: set[str] = set()
    for (key, _, task), old in stored.settings_by_part(storage):
        if task not in every or (task in tasks and (keys is None or key in keys)):
            continue
        now = {name: value for name, value in settings.of(task).items() if task in tasks or name in _SHARED}
        now, old = _with_precision(json.loads(json.dumps(without_pair(now)))), _with_precision(old)
        found = {name: (old.get(name), value) for name, value in now.items() if old.get(name) != value}
        differing |= found
        names |= {task} if found else set()
    if differing:
        was, now = (" and ".join(_as_flag(name, values[at]) for name, values in differing.items()) for at in (0, 1))
        alike = dict.fromkeys(
            flag for name in differing for flag in (IMAGE_NUMBERS if name in IMAGE_NUMBERS else [name])
        )
        same = " and ".join(_as_flag(name) for name in alike)
        raise UserError(
            f"{', '.join(sorted(names))} in this table is measured with {was}, now it would be with {now}: give the "
            f"same {same}, or {way}"
        )


def each_once(folders: Sequence[str]) -> list[str]:
    """Returns the folders of sweeps as typed; says so and takes it once where one is given twice, by whatever path."""
    found: dict[str, str] = {}
    for folder in folders:
        sweep = Storage.at(folder)
        place = str(sweep.local_path.resolve()) if sweep.is_local else sweep.uri
        if place in found:
            print(f"{folder} is the same folder as {found[place]}: taken once", flush=True)
        else:
            found[place] = folder
    return list(found.values())


def unlike(sweeps: Sequence[Storage]) -> list[str]:
    """Returns a line for each folder of which a task is measured with other numbers than in one before it.

    Targets, estimated graphs and the pair of mutual information are a sweep's own, and are not compared.
    """
    first: dict[str, tuple[Storage, dict[str, Any]]] = {}
    lines = []
    for sweep in sweeps:
        differing: dict[str, tuple[object, object, Storage]] = {}
        for task, found in table.KIND.settings_by_task(sweep.filesystem, sweep.path(MEASUREMENTS)).items():
            mine = _with_precision(found)
            other, theirs = first.setdefault(task, (sweep, mine))
            for name in ("feature_precision", *IMAGE_NUMBERS, *SAMPLE_NUMBERS):
                if mine.get(name) != theirs.get(name):
                    differing[name] = (theirs.get(name), mine.get(name), other)
        for name, (theirs, mine, other) in differing.items():
            flag, value = _as_flag(name, theirs), _as_flag(name, mine)
            lines.append(f"{other.uri} is measured with {flag}, {sweep.uri} with {value}: their numbers stand together")
    return lines


def _with_precision(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Names the precision where it is the one that is not named."""
    return {"feature_precision": FP32} | dict(settings)


def _as_flag(name: str, *value: object) -> str:
    """A setting as it is given, with its value or without."""
    named = {*IMAGE_NUMBERS, *SAMPLE_NUMBERS, "feature_precision"}
    flag = f"--{name.replace('_', '-')}" if name in named else name
    return " ".join([flag, *(str(one) or "none" for one in value)])


def encoder_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis encoder`.

    Returns:
        The flags; the options of the data and of the backbone that were given are dictionaries of texts, `data` and
        `backbone_options`.
    """
    parser = Parser(
        prog="python -m analysis encoder", description="Measures every layer of a network that was trained elsewhere."
    )
    parser.add_argument(
        "source", metavar="SOURCE",
        help="torchvision:NAME, or a file of weights (.pt, .pth, .ckpt, .safetensors) for --backbone",
    )  # fmt: skip
    add_storage_flag(parser, "folder of the table and the figures, its own or that of a sweep", "encoders")
    _add_source_flags(parser)
    add_measure_flags(parser)
    add_config_flags(parser, "data", {"": DataConfig})
    configs = {name: plugin_module("ray_ssl.backbones", name).Config for name in plugin_names("ray_ssl.backbones")}
    parser.add_argument("--backbone", choices=tuple(configs), metavar="NAME", help=f"file: {', '.join(configs)}")
    add_config_flags(parser, "backbone", configs)
    flags = parser.parse_strictly(arguments)
    flags.data, flags.backbone_options = texts(flags, "data"), texts(flags, "backbone")
    return flags


def advise_flags(arguments: Sequence[str]) -> argparse.Namespace:
    """Parses `python -m analysis advise`; the options of the data that were given are a dictionary of texts, `data`."""
    parser = Parser(
        prog="python -m analysis advise",
        description="Which layer and which of linear probing (LP), feature averaging (PFA), fine-tuning (FT) and LP-FT "
        "to use in a target, from labelled images of the source and images of the target without their labels.",
    )  # fmt: skip
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT",
        help="folder TRIAL_KEY/checkpoints/epoch-N of a sweep: a path, s3://... or gs://...",
    )  # fmt: skip
    parser.add_argument(
        "--level", choices=("class", "superclass"), default="class",
        help="labels that are wanted in the target (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--evidence", nargs="+", default=[], metavar="SWEEP_FOLDER",
        help="finished sweeps of sweeps/finetune.py and sweeps/transfer.py: how often such advice was right there; "
        "encoders are measured anew, which takes a forward pass of all their images each",
    )  # fmt: skip
    parser.add_argument("--source", action="append", metavar="SET", help="the same as --dataset SET")
    parser.add_argument(
        "--target", action="append", metavar="SET",
        help="the same as --shift to:SET, e.g. folder:PATH, whose images need no labels",
    )  # fmt: skip
    add_config_flags(parser, "data", {"": DataConfig})
    flags = parser.parse_strictly(arguments)
    flags.data = texts(flags, "data")
    for alias, option, prefix in (("source", "dataset", ""), ("target", "shift", "to:")):
        if sets := getattr(flags, alias):
            if option in flags.data:
                parser.error(f"--{alias} and --{option} say the same: give one of them")
            if len(sets) > 1:
                parser.error(f"there is one {alias}, given --{alias} {f' --{alias} '.join(sets)}")
            flags.data[option] = prefix + sets[0]
    if (target := (flags.target or [""])[0]).partition(":")[0] in KINDS:
        parser.error(f"--target is a set of images, e.g. folder:PATH, given {target}: give it as --shift {target}")
    return flags


def _add_source_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", choices=("none", "default"), metavar="NAME",
        help="torchvision: default (its best weights, downloaded once, with their image size, mean and std) or none "
        "(random ones)",
    )  # fmt: skip
    parser.add_argument(
        "--key-prefix", default="", metavar="TEXT",
        help="file: only names that begin with it count, without it, e.g. backbone.",
    )  # fmt: skip
    for name in ("mean", "std"):
        parser.add_argument(
            f"--{name}", nargs=3, type=float, metavar=("R", "G", "B"),
            help=f"{name} of the images that the network was trained on, 0..1 (default: torchvision's for its weights, "
            "else that of --dataset's training images)",
        )  # fmt: skip
    parser.add_argument(
        "--epoch", type=int, default=0, metavar="N",
        help="passes over the images that trained it, for the table (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="its seed, for the table; seed of random weights (default: %(default)s)",
    )  # fmt: skip


def add_config_flags(
    parser: argparse.ArgumentParser,
    part: str,
    configs: dict[str, type[Part]],
    defaults: Mapping[str, str] | None = None,
) -> None:
    """Adds one flag for each option of these configurations; its text is read by the configuration itself.

    A name that is taken gets the part before it, e.g. --data-num-test-images.

    Args:
        defaults: Of the options that a command has other defaults of than the configuration, as its help is to say.
    """
    group = parser.add_argument_group(part)
    owners: dict[str, list[str]] = {}
    for name, config in configs.items():
        for leaf in config.model_fields:
            owners.setdefault(leaf, []).append(name)
    for leaf, names in owners.items():
        if leaf != "name":
            whose = f"{', '.join(names)}: " if names[0] else ""
            text = f"{whose}{configs[names[0]].model_fields[leaf].description}".replace("%", "%%")
            if defaults and leaf in defaults:
                text = re.sub(r"\(default: [^()]*\)", f"(default: {defaults[leaf]})", text)
            shown = placeholder(configs[names[0]].model_fields[leaf].annotation)
            word = leaf.replace("_", "-")
            flag = f"--{part}-{word}" if f"--{word}" in parser._option_string_actions else f"--{word}"
            group.add_argument(flag, dest=f"{part}.{leaf}", metavar=shown, default=argparse.SUPPRESS, help=text)


def read_data_config(given: Mapping[str, str]) -> DataConfig:
    """Returns the options of the images.

    Raises:
        UserError: One that cannot be; it names the flag.
    """
    try:
        return DataConfig.model_validate_strings(given)
    except ValidationError as error:
        raise UserError(explain(error, DataConfig, as_flag=True)) from None


def texts(flags: argparse.Namespace, part: str) -> dict[str, str]:
    return {path.partition(".")[2]: text for path, text in vars(flags).items() if path.startswith(f"{part}.")}
