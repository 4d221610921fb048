"""Command-line flags made from the configuration's own types: one definition of every option, default and help."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from ray_ssl.config import BackboneConfig, MethodConfig, PretrainConfig
from ray_ssl.part import Part, part_type, placeholder, plain_type
from ray_ssl.plugins import plugin_module, plugin_names

PLUGINS: dict[type[Part], str] = {BackboneConfig: "ray_ssl.backbones", MethodConfig: "ray_ssl.methods"}


def add_config_flags(
    parser: argparse.ArgumentParser,
    base: PretrainConfig,
    swept: set[str],
    demo: Mapping[str, Any] = MappingProxyType({}),
    study: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, str]:
    """Adds one flag for every option of the configuration but those that are swept, in groups.

    Args:
        parser: Gets the groups.
        base: Its values are the defaults that `--help` shows.
        swept: Dotted paths of the options that have a plural flag of their own.
        demo: Values by dotted path that a run without `--dataset` has instead of the defaults.
        study: The same of a run with `--dataset`.

    Returns:
        Flag by dotted path, e.g. {"training.epochs": "--epochs"}.
    """
    flags: dict[str, str] = {}
    general = parser.add_argument_group("trial")
    for name, field in PretrainConfig.model_fields.items():
        part = part_type(field.annotation)
        if part is None:
            _add_flag(general, name, field, getattr(base, name), swept, flags)
        elif part in PLUGINS:
            _add_plugin_flags(parser, name, part, getattr(base, name).name, swept, flags)
        else:
            group = parser.add_argument_group(name, part.__doc__)
            for leaf, inner in part.model_fields.items():
                path, default = f"{name}.{leaf}", getattr(getattr(base, name), leaf)
                _add_flag(group, path, inner, default, swept, flags, shown=_with_recommended(path, default))
    _mention(parser, demo, study)
    return flags


def _mention(parser: argparse.ArgumentParser, demo: Mapping[str, Any], study: Mapping[str, Any]) -> None:
    """Adds a sweep's own values to the help of the options that it sets."""
    for action in parser._actions:
        name, text = action.dest, action.help or ""
        if (name in demo or name in study) and "without --dataset" not in text:
            own = {"with": study, "without": demo}
            parts = [f"{how} --dataset: {_show(values[name])}" for how, values in own.items() if name in values]
            if name in demo and name in study and demo[name] == study[name]:
                parts = [f"in this sweep: {_show(demo[name])}"]
            action.help = f"{text.removesuffix(')')}; {'; '.join(parts)})"


def _add_plugin_flags(
    parser: argparse.ArgumentParser, name: str, part: type[Part], default: str, swept: set[str], flags: dict[str, str]
) -> None:
    """Adds `--method NAME` and the options of every method, each saying whose it is."""
    package = PLUGINS[part]
    group = parser.add_argument_group(name)
    if f"{name}.name" not in swept:
        choices = plugin_names(package)
        group.add_argument(f"--{name}", dest=f"{name}.name", choices=choices, metavar="NAME", default=argparse.SUPPRESS,
                           help=f"one of {', '.join(choices)} (default: {default})")  # fmt: skip
        flags[f"{name}.name"] = f"--{name}"
    options: dict[str, list[tuple[str, FieldInfo]]] = {}
    for plugin in plugin_names(package):
        for leaf, field in plugin_module(package, plugin).Config.model_fields.items():
            if leaf != "name":
                options.setdefault(leaf, []).append((plugin, field))
    for leaf, owners in options.items():
        defaults = {plugin: _show(field.default) for plugin, field in owners}
        same = len(set(defaults.values())) == 1
        shown = next(iter(defaults.values())) if same else _by_value(defaults)
        meanings = {plugin: field.description or "" for plugin, field in owners}
        text = _by_meaning(meanings, of_all=len(owners) == len(plugin_names(package)))
        _add_flag(group, f"{name}.{leaf}", owners[0][1], None, swept, flags, text, shown)


def _by_value(values: dict[str, str]) -> str:
    """Values by plug-in as text, those with the same value together: "512 (moco_v2, swav), 1024 (byol)"."""
    owners: dict[str, list[str]] = {}
    for plugin, value in values.items():
        owners.setdefault(value, []).append(plugin)
    return ", ".join(f"{value} ({', '.join(plugins)})" for value, plugins in owners.items())


def _by_meaning(meanings: dict[str, str], of_all: bool) -> str:
    """What an option means in each plug-in that has it; `of_all`: there are no others."""
    owners: dict[str, list[str]] = {}
    for plugin, meaning in meanings.items():
        owners.setdefault(meaning, []).append(plugin)
    if of_all and len(owners) == 1:
        return next(iter(owners))
    return ". ".join(f"{', '.join(plugins)}: {meaning}" for meaning, plugins in owners.items())


def _with_recommended(path: str, default: Any) -> str:
    """The default of an option outside the methods, and the values that methods recommend instead."""
    package = PLUGINS[MethodConfig]
    own = {name: plugin_module(package, name).Config.RECOMMENDED for name in plugin_names(package)}
    others = {name: _show(values[path]) for name, values in own.items() if values.get(path, default) != default}
    return _show(default) + (f"; the method's own: {_by_value(others)}" if others else "")


def _add_flag(
    group: Any, path: str, field: FieldInfo, default: Any, swept: set[str], flags: dict[str, str],
    meaning: str | None = None, shown: str | None = None,
) -> None:  # fmt: skip
    if path in swept:
        return
    flag = "--" + path.rpartition(".")[2].replace("_", "-")
    assert flag not in flags.values(), f"two options would share the flag {flag}"
    flags[path] = flag
    text = (field.description or "") if meaning is None else meaning
    if "default:" not in text:
        text += f" (default: {_show(default) if shown is None else shown})"
    options: dict[str, Any] = {"dest": path, "default": argparse.SUPPRESS, "help": text.replace("%", "%%")}
    inner = plain_type(field.annotation)
    if inner is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **options)
    elif get_origin(inner) is Literal:
        group.add_argument(flag, choices=get_args(inner), metavar="NAME", **options)
    elif get_origin(inner) is tuple:
        group.add_argument(flag, nargs=2, type=_number(float), metavar=("LOW", "HIGH"), **options)
    else:
        kind = inner if inner in (int, float) else str
        group.add_argument(flag, type=_number(kind), metavar=placeholder(kind), **options)


def _number(kind: type) -> Any:
    adapter = TypeAdapter(kind)

    def parse(text: str) -> Any:
        try:
            return adapter.validate_strings(text)
        except ValidationError:
            wanted = {int: "a whole number", float: "a number"}.get(kind, "text")
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}") from None

    return parse


def _show(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return " ".join(_show(v) for v in value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
