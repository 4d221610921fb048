"""A typed, frozen group of options, and one line for what is wrong with it."""

import json
import types
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.fields import FieldInfo

from ray_ssl.errors import did_you_mean
from ray_ssl.plugins import plugin_module, plugin_names

Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, lt=2**31)]  # the table of measurements holds epochs, depths and widths in 32 bits
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # the table of measurements holds it in 64 bits


class Part(BaseModel):
    """A frozen group of options. The docstring under a field is its `--help` text."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def without_effect(self) -> dict[str, str]:
        """Returns the options that change nothing beside the values of the others, each with what it would need."""
        return {}


class _PluginOptionError(ValueError):
    """A problem inside a plug-in's options, already explained."""


def plugin_config(package: str, base: type[Part]) -> WrapValidator:
    """A field whose type is the `Config` of the plug-in that its "name" names."""

    def validate(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        if isinstance(value, base) and type(value) is not base:
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            known = ", ".join(plugin_names(package))
            raise ValueError(f'needs a "name", one of {known}; given {_shortly(value)}')
        config_type = plugin_module(package, value["name"]).Config
        try:
            return config_type.model_validate_json(json.dumps(value))
        except ValidationError as error:
            raise _PluginOptionError(explain(error, config_type)) from None

    return WrapValidator(validate)


def part_type(annotation: Any) -> type[Part] | None:
    """Returns the Part class inside an annotation, or None where a field is a plain value."""
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        annotation = get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and issubclass(annotation, Part) else None


def plain_type(annotation: Any) -> Any:
    """Returns the plain type inside Annotated and Optional."""
    while get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, types.UnionType):
        inner = next(a for a in get_args(annotation) if a is not type(None))
        return plain_type(inner)
    return annotation


def placeholder(annotation: Any) -> str:
    """Returns what `--help` shows in the place of an option's value."""
    kind = plain_type(annotation)
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    return {bool: "{true,false}", int: "N", float: "X"}.get(kind, "TEXT")


def explain(error: ValidationError, root: type[Part], as_flag: bool = False) -> str:
    """Returns the first problem of a validation error as one line: where, what is wrong, what was given.

    Args:
        as_flag: Options are named as they are typed, --num-images.
    """
    first = error.errors(include_url=False)[0]
    path = [p for p in first["loc"] if isinstance(p, str) and not p.startswith("function-")]
    where = f"--{path[-1].replace('_', '-')}" if as_flag and path else ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown option {where!r}{did_you_mean(path[-1], _known_options(root, path[:-1]))}"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first.get("ctx", {}).get("error"), _PluginOptionError):
        return message if message.startswith("unknown option") else f"{where}.{message}"
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    given, where = _shortly(first["input"]), where or "the configuration"
    if first["type"] == "missing" and first["loc"][-1:] == tuple(path[-1:]):  # not one of a tuple's values
        return f"{where} is missing"
    if first["type"] == "json_invalid":
        return f"{where} is not JSON: {message.removeprefix('Invalid JSON: ')}; given {given}"
    parent = _part_at(root, path[:-1])
    field = parent.model_fields.get(path[-1]) if parent and path else None
    return f"{where} takes {_takes(field, first['type']) if field else _OPTIONS}, given {given}"


def _part_at(root: type[Part], path: list[str]) -> type[Part] | None:
    """The part at `path`; plug-in parts report their own errors (see `plugin_config`)."""
    for name in path:
        field = root.model_fields.get(name)
        inner = part_type(field.annotation) if field else None
        if inner is None:
            return None
        root = inner
    return root


def _known_options(root: type[Part], path: list[str]) -> list[str]:
    part = _part_at(root, path)
    return list(part.model_fields) if part else []


_OPTIONS: Final = "options by name, each with its value"
_NUMBERS: Final = {int: "a whole number", float: "a number"}
_TEXTS: Final = {bool: "true or false", str: "text"}
_MOST_LETTERS: Final = 80
_EVIDENT: Final = 2**31 - 1
"""Whole numbers are told a limit from here on only where they are beyond it."""


def _takes(field: FieldInfo, error: str) -> str:
    """Returns what an option takes, in words; `error` is the type of pydantic's error."""
    return _in_words(field.annotation, field.metadata, beyond=error.startswith("less_than"))


def _in_words(annotation: Any, limits: Iterable[Any], beyond: bool) -> str:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _in_words(inner[0], [*limits, *inner[1:]], beyond)
    if origin in (Union, types.UnionType):
        return _in_words(inner[0], limits, beyond)
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin is tuple:
        return f"{len(inner)} values, each {_in_words(inner[0], limits, beyond)}"
    if annotation in _NUMBERS:
        return f"{_NUMBERS[annotation]}{_range(annotation, limits, beyond)}"
    return _TEXTS.get(annotation, _OPTIONS)


def _range(kind: type, limits: Iterable[Any], beyond: bool) -> str:
    """The limits of a number in words, e.g. " of at least 1" or " from 0 to 1"."""
    known = {name: value for limit in limits for one in getattr(limit, "metadata", [limit])
             for name in ("ge", "gt", "le", "lt") if (value := getattr(one, name, None)) is not None}  # fmt: skip
    if kind is int and "lt" in known:
        known["le"] = known.pop("lt") - 1
    if kind is int and known.get("le", 0) >= _EVIDENT and not beyond:
        del known["le"]
    if {"ge", "le"} <= known.keys():
        return f" from {known['ge']} to {known['le']}"
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    found = [f"{word} {known[name]}" for name, word in words.items() if name in known]
    return f" {' and '.join(found)}" if found else ", finite" if kind is float else ""


def _shortly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]}..."
