"""Plug-ins are found by module name: one file in a package is one method, backbone, metric or figure."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import TypeVar

from ray_ssl.errors import UserError, did_you_mean

Base = TypeVar("Base")


@cache
def plugin_names(package: str) -> tuple[str, ...]:
    """Returns the names of the modules in `package`, sorted, without `base`."""
    found = iter_modules(import_module(package).__path__)
    return tuple(sorted(m.name for m in found if m.name not in ("base", "__main__")))


def plugin_module(package: str, name: str) -> ModuleType:
    """Returns the module `package.name`.

    Raises:
        UserError: There is no such plug-in.
    """
    names = plugin_names(package)
    if name not in names:
        kind = package.rsplit(".", 1)[-1].removesuffix("s")
        raise UserError(f"unknown {kind} {name!r}{did_you_mean(name, names)}")
    return import_module(f"{package}.{name}")


def plugin_class(package: str, name: str, base: type[Base]) -> type[Base]:
    """Returns the one public subclass of `base` that the module `package.name` defines."""
    module = plugin_module(package, name)
    found = [
        c
        for c in vars(module).values()
        if isinstance(c, type)
        and issubclass(c, base)
        and c.__module__ == module.__name__
        and not c.__name__.startswith("_")
    ]
    assert len(found) == 1, f"{module.__name__} must define one {base.__name__}, has {len(found)}"
    return found[0]
