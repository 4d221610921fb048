"""A typed, frozen group of options, and one line for what is wrong with it."""

import json
import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from ray_ssl.errors import did_you_mean
from ray_ssl.plugins import plugin_module

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
            raise ValueError('needs a "name"')
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


def explain(error: ValidationError, root: type[Part], as_flag: bool = False) -> str:
    """Returns the first problem of a validation error as one line: where, what is wrong, what was given.

    Args:
        as_flag: Options are named as they are typed, --num-images.
    """
    first = error.errors(include_url=False)[0]
    path = [str(p) for p in first["loc"] if not str(p).startswith("function-")]
    where = f"--{path[-1].replace('_', '-')}" if as_flag and path else ".".join(path)
    if first["type"] == "extra_forbidden":
        return f"unknown option {where!r}{did_you_mean(path[-1], _known_options(root, path[:-1]))}"
    message = first["msg"].removeprefix("Value error, ")
    if isinstance(first.get("ctx", {}).get("error"), _PluginOptionError):
        return message if message.startswith("unknown option") else f"{where}.{message}"
    if first["type"] == "value_error":
        return f"{where}: {message}" if where else message
    return f"{where or 'configuration'}: {message[0].lower()}{message[1:]}, given {first['input']!r}"


def _known_options(root: type[Part], path: list[str]) -> list[str]:
    """The option names of the part at `path`; plug-in parts report their own (see `plugin_config`)."""
    for name in path:
        field = root.model_fields.get(name)
        inner = part_type(field.annotation) if field else None
        if inner is None:
            return []
        root = inner
    return list(root.model_fields)
