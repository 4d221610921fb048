"""`--vary OPTION=LOW:HIGH`: which numbers a search varies, checked before anything starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo

from ray_ssl.config import PretrainConfig
from ray_ssl.errors import UserError, did_you_mean
from ray_ssl.part import part_type, plain_type
from ray_ssl.plugins import plugin_module, plugin_names
from sweeps.options import PLUGIN_PARTS, Grid

Ranges = dict[str, tuple[float, float]]
"""Lowest and highest value by dotted option path; whole numbers where the option takes no others."""

SHARED = {"num_workers": "all trials of a sweep have as many", "seed": "a search trains with one"}
"""What cannot be varied, and why."""


def ranges(texts: Sequence[str], grid: Grid) -> Ranges:
    """Parses what `--vary` was given.

    Raises:
        UserError: Not of that form, no such option, none with numbers, or an end that the option does not take.
    """
    found: Ranges = {}
    for text in texts:
        option, _, bounds = text.partition("=")
        option = option.removeprefix("--")
        path = _path(option, grid.flags, grid.axes)
        if path in found:
            raise UserError(f"--vary {option} is given twice")
        found[path] = _bounds(text, option, bounds, plain_type(_field(path).annotation) is int)
        for end in found[path]:
            grid.check({path: end})
    return found


def _path(option: str, flags: Mapping[str, str], axes: Mapping[str, Any]) -> str:
    """The dotted path of an option that can be varied."""
    path = next((p for p, flag in flags.items() if flag == f"--{option}"), None)
    if path is None:
        axis = next((p for p in axes if p.rpartition(".")[2] == option.replace("-", "_")), None)
        hint = did_you_mean(option, [flag.removeprefix("--") for p, flag in flags.items() if p not in axes])
        hint = f"; give {flags[axis]} its values" if axis else hint if "did you" in hint else "; see --help"
        raise UserError(f"--vary knows no option {option!r}{hint}")
    if path in axes:
        raise UserError(f"--vary knows no option {option!r}: it is an axis; give --{option} its values")
    why = "all trials of a sweep have the same images" if path.startswith("data.") else SHARED.get(path)
    if why is not None:
        raise UserError(f"--vary cannot vary {option}: {why}")
    if plain_type(_field(path).annotation) not in (int, float):
        raise UserError(f"--vary varies numbers, {option} is none")
    return path


def _field(path: str) -> FieldInfo:
    """The definition of an option."""
    part, _, leaf = path.rpartition(".")
    if part in PLUGIN_PARTS:
        package = PLUGIN_PARTS[part]
        fields = (plugin_module(package, name).Config.model_fields for name in plugin_names(package))
        return next(known[leaf] for known in fields if leaf in known)
    inner = part_type(PretrainConfig.model_fields[part].annotation) if part else PretrainConfig
    assert inner is not None
    return inner.model_fields[leaf]


def _bounds(text: str, option: str, bounds: str, whole: bool) -> tuple[float, float]:
    try:
        low, high = (float(bound) for bound in bounds.split(":"))
    except ValueError:
        raise UserError(f"--vary takes OPTION=LOW:HIGH, given {text!r}") from None
    if not low < high or not math.isfinite(high - low):
        raise UserError(f"--vary {option} goes from small to large, both finite, given {bounds}")
    if not whole:
        return low, high
    if not low.is_integer() or not high.is_integer():
        raise UserError(f"--vary {option} takes whole numbers, given {bounds}")
    return int(low), int(high)
