"""Small pieces of HTML. Every text that is given is escaped here; what these return is HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

_ARXIV: Final = re.compile(r"\b(?:arXiv[: ])(\d{4}\.\d{4,5})\b")


def text(value: object) -> str:
    """Returns a value as text, escaped; numbers of papers become links."""
    return _ARXIV.sub(r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>', escape(str(value)))


def paragraphs(value: str) -> str:
    """Returns a text with a paragraph for each of its own."""
    return "".join(f"<p>{text(part)}</p>" for part in re.split(r"\n\s*\n", value.strip()) if part)


def section(name: str, title: str, content: str) -> str:
    """Returns a section with its heading; `name` is its address in the page."""
    return f'<section id="{escape(name)}"><h2>{escape(title)}</h2>\n{content}\n</section>\n'


def details(summary: str, content: str) -> str:
    """Returns what is folded away behind one line."""
    return f"<details><summary>{text(summary)}</summary>\n{content}\n</details>\n"


def unfolded(summary: str, content: str) -> str:
    """Returns what can be folded away, and is on a phone (`page.js`)."""
    return f'<details class="long" open><summary>{text(summary)}</summary>\n{content}\n</details>\n'


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    caption: str,
    numeric: Iterable[int] = (),
    about: Iterable[int] = (),
) -> str:
    """Returns a table that scrolls by itself where it is wider than the page; of numbers, on a phone, it stands as a
    list instead, every number with its title.

    Args:
        head: Titles of the columns, texts.
        rows: Their cells, HTML; the first is the row's own title.
        caption: A text.
        numeric: Columns that are aligned to the right.
        about: Columns that share one line of the list: what a row is of.
    """
    numbers, shared = set(numeric), set(about)
    right = dict.fromkeys(numbers, ' class="number"')
    attributes = [_attributes(title, i in numbers, i in shared) if numbers else "" for i, title in enumerate(head)]
    titles = "".join(f'<th scope="col"{right.get(i, "")}>{escape(title)}</th>' for i, title in enumerate(head))
    lines = []
    for first, *others in rows:
        cells = "".join(f"<td{attributes[i]}>{cell}</td>" for i, cell in enumerate(others, start=1))
        lines.append(f'<tr><th scope="row">{first}</th>{cells}</tr>')
    scroll = "scroll listed" if numbers else "scroll"
    # The words stand above what scrolls, so that they do not scroll away with it.
    return (
        f'<p class="small">{text(caption)}</p>\n'
        f'<div class="{scroll}" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<thead><tr>{titles}</tr></thead>\n<tbody>{chr(10).join(lines)}</tbody></table></div>\n"
    )


def _attributes(title: str, is_number: bool, is_about: bool) -> str:
    classes = " ".join(["number"] * is_number + ["about"] * is_about)
    return f' class="{classes}"' * bool(classes) + f' data-title="{escape(title)}"'


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Returns names (texts) and values (HTML), one pair a line."""
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{value}</dd>' for name, value in pairs)}</dl>\n"


def command(line: str) -> str:
    """Returns a line to be typed."""
    return f"<pre><code>{escape(line)}</code></pre>"


def notice(content: str) -> str:
    """Returns what should not be overlooked; `content` is HTML."""
    return f'<div class="notice" role="note">{content}</div>\n'
