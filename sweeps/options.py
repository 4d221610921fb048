"""From the options that were given to whole configurations: presets, the method's defaults, foreign options."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ray_ssl.config import PretrainConfig
from ray_ssl.errors import UserError
from ray_ssl.plugins import plugin_module, plugin_names

PLUGIN_PARTS = {"method": "ray_ssl.methods", "backbone": "ray_ssl.backbones"}

Values = dict[str, Any]
"""Values by dotted option path, e.g. {"training.epochs": 5}; what is missing takes its default."""


@dataclass(frozen=True)
class Grid:
    """The configurations of a sweep.

    Attributes:
        given: What the user asked for, axes excluded.
        preset: What the sweep sets where nothing was given; options that the chosen plug-ins lack are left out. A path
            that ends in "@NAME" holds for the method or backbone NAME alone.
        axes: All values by dotted path.
        flags: Flag by dotted path, for messages.
        more: Configurations besides the axes' combinations.
        more_methods: Methods that the sweep trains besides those of the axes; their options may be given too.
    """

    given: Values
    preset: Values
    axes: dict[str, tuple[Any, ...]]
    flags: dict[str, str]
    more: tuple[PretrainConfig, ...] = ()
    more_methods: tuple[str, ...] = ()

    def configs(self) -> list[PretrainConfig]:
        """Returns the grid's configurations, the first axis varying slowest, and those besides."""
        return list(self._configs)

    @cached_property
    def _configs(self) -> list[PretrainConfig]:
        return [*(self.config(point) for point in self.points()), *self.more]

    def points(self) -> list[Values]:
        """Returns every combination of the axes' values by dotted path, the first axis varying slowest."""
        return [dict(zip(self.axes, point, strict=True)) for point in itertools.product(*self.axes.values())]

    def config(self, point: Values) -> PretrainConfig:
        """Returns one configuration.

        Args:
            point: Values by dotted path; axes that are missing take their first value.

        Raises:
            UserError: A value out of its range, an option of another method; it names the flag.
        """
        point = {path: values[0] for path, values in self.axes.items()} | point
        chosen = {part: self._plugin(part, point) for part in PLUGIN_PARTS}
        self._refuse_foreign(chosen, point)
        values: Values = {part: {"name": name} for part, name in chosen.items()}
        for path, value in {**self._preset_of(chosen), **self.given, **point}.items():
            *parents, leaf = path.split(".")
            if parents and parents[0] in chosen and leaf not in _options(parents[0], chosen[parents[0]]):
                continue  # checked above: another plug-in of the grid has it
            node = values
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
        try:
            return PretrainConfig.from_dict(values)
        except UserError as error:
            raise UserError(self._with_flag(str(error))) from None

    def check(self, point: Values | None = None) -> None:
        """Tries every value of every axis once, with the values of a point. Raises UserError as `config`."""
        for path, values in self.axes.items():
            for value in values:
                self.config({path: value, **(point or {})})

    def refuse_without_effect(self, varied: Values) -> None:
        """Refuses options that were asked for but change nothing in any trial; presets may set such.

        Args:
            varied: Options besides the axes in which trials differ, each with the highest of its values.

        Raises:
            UserError: It names the flag and what it would need.
        """
        points = [(path, value) for path, values in self.axes.items() for value in values] + list(varied.items())
        configs = [self.config({path: value}) for path, value in points] or [self.config({})]
        for path in (*self.given, *varied):
            needs = [config.without_effect().get(path) for config in configs if _has(config, path)]
            if needs and all(needs):
                raise UserError(f"{self.flags[path]} has no effect without {needs[0]}")

    def shared(self) -> Values:
        """Returns the options that all trials share, whatever values the axes get; they identify the study."""
        shared = _flat(self.config({}).to_dict())
        for part, package in PLUGIN_PARTS.items():
            if f"{part}.name" in self.axes:  # then its options, and what it recommends, are no longer shared
                configs = [plugin_module(package, name).Config for name in plugin_names(package)]
                unshared = {path for config in configs for path in getattr(config, "RECOMMENDED", {})}
                unshared |= {path for path in shared if path.startswith(f"{part}.")}
                shared = {path: value for path, value in shared.items() if path not in unshared}
        shared = {path: value for path, value in (shared | self.given).items() if path not in self.axes}
        base = PretrainConfig()
        later = {
            f"{name}.{option}": type(part).model_fields[option].default
            for name, part in (("data", base.data), ("training", base.training))
            for option in part.ADDED_LATER
        }
        return {path: value for path, value in shared.items() if path not in later or value != later[path]}

    def _plugin(self, part: str, point: Values) -> str:
        path = f"{part}.name"
        default = getattr(PretrainConfig(), part).name
        return {**self.preset, **self.given, **point}.get(path, default)

    def _preset_of(self, chosen: dict[str, str]) -> Values:
        """The preset of the chosen plug-ins."""
        named = [(*path.partition("@"), value) for path, value in self.preset.items()]
        common = {path: value for path, _, name, value in named if not name}
        return common | {path: value for path, _, name, value in named if name in chosen.values()}

    def _refuse_foreign(self, chosen: dict[str, str], point: Values) -> None:
        """Refuses an option that none of the chosen methods (or backbones) has."""
        for path in (*self.given, *self.axes, *point):
            part, _, leaf = path.partition(".")
            if part not in PLUGIN_PARTS or leaf == "name":
                continue
            names = self.axes.get(f"{part}.name", (self._plugin(part, {}),))
            names = dict.fromkeys((*names, chosen[part], *(self.more_methods if part == "method" else ())))
            if not any(leaf in _options(part, name) for name in names):
                owners = [n for n in plugin_names(PLUGIN_PARTS[part]) if leaf in _options(part, n)]
                raise UserError(f"{self.flags[path]} belongs to {part} {', '.join(owners)}, not to {', '.join(names)}")

    def _with_flag(self, message: str) -> str:
        """Names the flag where the message names an option."""
        paths = sorted(self.flags, key=len, reverse=True)
        path = next((p for p in paths if message.startswith((f"{p}:", f"{p} "))), None)
        return message.replace(path, self.flags[path], 1) if path else message


def _flat(values: dict[str, Any]) -> Values:
    """Nested values by dotted path."""
    flat: Values = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{leaf}": inner for leaf, inner in value.items()}
        else:
            flat[name] = value
    return flat


def _has(config: PretrainConfig, path: str) -> bool:
    """Whether a configuration has the option; those of other methods and backbones it has not."""
    part, _, leaf = path.partition(".")
    return part not in PLUGIN_PARTS or leaf in type(getattr(config, part)).model_fields


def _options(part: str, name: str) -> set[str]:
    return set(plugin_module(PLUGIN_PARTS[part], name).Config.model_fields)
