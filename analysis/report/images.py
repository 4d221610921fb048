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

MAX_BYTES: Final = 12_000_000
"""Of all figures of a page; base64 makes a third more of it."""

TOPICS: Final = ("Source and target", "Overviews", "Panels of arXiv 2305.15614")
"""Headings, in order. A figure's module says its own in `TOPIC`; else it is a panel, by its name, or an overview."""

_TYPES: Final = {"svg": "image/svg+xml", "png": "image/png"}


def figures(files: Mapping[str, bytes]) -> str:
    """Returns the figures as HTML, with what each shows, those of one topic under a heading where there are several.

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
    found: dict[str, list[str]] = {}
    for number, stem in enumerate(sorted(stems, key=lambda stem: TOPICS.index(_topic(stem))), start=1):
        html = _figure(stem, number, "" if stem in left_out else chosen[stem], files)
        found.setdefault(_topic(stem), []).append(html)
    headings = {topic: f"<h3>{text(topic)}</h3>\n" if len(found) > 1 else "" for topic in found}
    return "".join(f'{headings[topic]}<div class="figures">{"".join(of_topic)}</div>\n'
                   for topic, of_topic in found.items())  # fmt: skip


def _figure(stem: str, number: int, name: str, files: Mapping[str, bytes]) -> str:
    title, about = _words(stem)
    caption = f"<figcaption><strong>{text(title)}</strong> {text(about)} <span>figures/{text(stem)}</span></figcaption>"
    if not name:
        return f"<figure><p>Too large for this page: figures/{text(stem)}.svg</p>{caption}</figure>\n"
    data = base64.b64encode(files[name]).decode()
    image = f'<img alt="{escape(title)}" src="data:{_TYPES[_kind(name)]};base64,{data}">'
    # The picture fills the window while it is the page's target: it stands in the page once, and no script is needed.
    opens = f'<a href="#picture-{number}" title="Larger">{image}</a>'
    closes = f'<a class="close" href="#figure-{number}">close</a>'
    picture = f'<div class="picture" id="picture-{number}">{opens}{closes}</div>'
    return f'<figure id="figure-{number}">{picture}{caption}</figure>\n'


def _topic(stem: str) -> str:
    _, overview, panel = TOPICS
    return getattr(_module(stem), "TOPIC", panel if stem.startswith("fig") else overview)


def _module(stem: str) -> Any:
    """The module of a figure; None where the file is of another version."""
    known = [name for name in plugin_names("analysis.figures") if stem == name or stem.startswith(f"{name}-")]
    return plugin_module("analysis.figures", max(known, key=len)) if known else None


def _words(stem: str) -> tuple[str, str]:
    """Title and description of a figure, from its module; the file's name where it is of another version."""
    module = _module(stem)
    if module is None:
        return stem.replace("_", " "), ""
    return module.TITLE, inspect.cleandoc(module.__doc__ or "").replace("\n\n", " ").replace("`", "")


def _kind(name: str) -> str:
    return PurePath(name).suffix.removeprefix(".")
