"""The figures of a sweep inside the page: as data, so that the page is one file."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Mapping
from html import escape
from pathlib import PurePath
from typing import Any, Final

from analysis.report.markup import text
from ray_ssl.plugins import plugin_module, plugin_names

MAX_BYTES: Final = 5_500_000
"""Of all figures of a page; base64 makes a third more of it."""

_TYPES: Final = {"svg": "image/svg+xml", "png": "image/png"}


def figures(files: Mapping[str, bytes]) -> str:
    """Returns the figures as HTML, with what each shows.

    Vector graphics, as long as all of them fit; else the largest are pixels instead where that is smaller, and what
    fits even so no more is named.

    Args:
        files: By name, `NAME.svg` and `NAME.png`; others are left out.
    """
    stems = sorted({PurePath(name).stem for name in files if _kind(name) in _TYPES})
    chosen = {stem: f"{stem}.svg" if f"{stem}.svg" in files else f"{stem}.png" for stem in stems}
    size = sum(len(files[name]) for name in chosen.values())
    for stem in sorted(stems, key=lambda stem: -len(files[chosen[stem]])):
        pixels = f"{stem}.png"
        if size > MAX_BYTES and len(files.get(pixels, b"")) and len(files[pixels]) < len(files[chosen[stem]]):
            size -= len(files[chosen[stem]]) - len(files[pixels])
            chosen[stem] = pixels
    left_out = set()
    for stem in sorted(stems, key=lambda stem: -len(files[chosen[stem]])):
        if size > MAX_BYTES:
            size -= len(files[chosen[stem]])
            left_out.add(stem)
    found = [_figure(stem, "" if stem in left_out else chosen[stem], files) for stem in stems]
    return f'<div class="figures">{"".join(found)}</div>' if found else ""


def _figure(stem: str, name: str, files: Mapping[str, bytes]) -> str:
    title, about = _words(stem)
    caption = f"<figcaption><strong>{text(title)}</strong> {text(about)} <span>figures/{text(stem)}</span></figcaption>"
    if not name:
        return f"<figure><p>Too large for this page: figures/{text(stem)}.svg</p>{caption}</figure>\n"
    data = base64.b64encode(files[name]).decode()
    image = f'<img alt="{escape(title)}" src="data:{_TYPES[_kind(name)]};base64,{data}">'
    return f"<figure>{image}{caption}</figure>\n"


def _words(stem: str) -> tuple[str, str]:
    """Title and description of a figure, from its module; the file's name where it is of another version."""
    known = [name for name in plugin_names("analysis.figures") if stem == name or stem.startswith(f"{name}-")]
    if not known:
        return stem.replace("_", " "), ""
    module: Any = plugin_module("analysis.figures", max(known, key=len))
    return module.TITLE, inspect.cleandoc(module.__doc__ or "").replace("\n\n", " ")


def _kind(name: str) -> str:
    return PurePath(name).suffix.removeprefix(".")
