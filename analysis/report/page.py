"""The report of a sweep: one HTML page that needs nothing else, no network, no other file.

`page.html` is its frame; `style.css` is put into it as it is, and the scripts one after the other, as one block.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any, Final

from analysis.claims import check
from analysis.figures.base.numbers import EIGENVECTORS, LEARNED, Frame, networks_alone
from analysis.finetuned_choice import which_checkpoints
from analysis.report.domain_tables import finetuning_table, transfer_table
from analysis.report.estimated_look import look_of_estimates
from analysis.report.facts import Facts
from analysis.report.graph_look import look_of_graphs
from analysis.report.graph_tables import QUESTION, eigenvectors_table, learned_table
from analysis.report.images import figures
from analysis.report.markup import paragraphs, section, text
from analysis.report.payload import payload, to_script
from analysis.report.records import commands, environment, graph_scale, grid, options, scale, trouble, warning
from analysis.report.results import with_networks
from analysis.report.tables import claims_table, results_table, targets_table
from analysis.survey import TRAINED
from analysis.table import FOREIGN, GRAPH

_HERE: Final = Path(__file__).parent
_CHART_SCRIPTS: Final = ("measured", "controls", "networks", "drawing", "pointing", "listing", "start")


@dataclass(frozen=True)
class Content:
    """What a page is made of.

    Attributes:
        facts: What the sweep's records say.
        measurements: See `analysis.table`; with networks' names.
        figures: Files by name, see `images.figures`.
    """

    facts: Facts
    measurements: Frame
    figures: Mapping[str, bytes]

    @cached_property
    def claims(self) -> Frame:
        """See `analysis.claims.check`; of trials that came to their end."""
        rows = self.at_their_end(self.measurements).drop(columns="network")
        return check(
            rows, shlex.quote(self.facts.uri), unmeasured=self.facts.unmeasured(rows), epochs=self.facts.epochs
        )

    def at_their_end(self, rows: Frame) -> Frame:
        """Returns the rows of trials that came to their end, and of networks trained elsewhere."""
        return rows[~rows["trial_key"].isin([one.key for one in self.facts.trials if one.state not in TRAINED])]

    @property
    def networks(self) -> Frame:
        """The measurements of networks."""
        return networks_alone(self.measurements)

    @property
    def is_of_encoders(self) -> bool:
        """Whether all that was measured was trained elsewhere (`python -m analysis encoder`)."""
        return not self.facts.trials and len(self.networks) > 0 and (self.networks["method"] == FOREIGN).all()

    @property
    def kicker(self) -> str:
        """What the page is."""
        if self.is_of_encoders:
            return "Report of encoders"
        return "Report of an exact graph" if self.is_of_graphs else "Sweep report"

    @property
    def question(self) -> str:
        """What was asked."""
        if self.facts.question:
            return self.facts.question
        if self.is_of_encoders:
            return "Encoders that were trained elsewhere, measured here."
        return QUESTION if self.is_of_graphs else "No question is recorded with this sweep."

    @property
    def is_of_graphs(self) -> bool:
        """Whether all that was measured is of exact graphs (`sweeps/graph.py`)."""
        return self.networks.empty and len(self.measurements) > 0


def render(facts: Facts, measurements: Frame, files: Mapping[str, bytes]) -> str:
    """Returns the report; the same for the same content.

    Args:
        facts: What the sweep's records say.
        measurements: As `analysis.table.read_table` returns it; it may be empty.
        files: The figures by name, `NAME.svg` and `NAME.png`.
    """
    content = Content(facts, with_networks(measurements), files)
    found = [(name, title, make(content)) for name, (title, make) in _SECTIONS.items()]
    found = [(name, title, html) for name, title, html in found if html]
    first_line, _, rest = content.question.strip().partition("\n")
    frame = Template(_part("page.html"))
    return frame.substitute(
        title=text(f"{facts.name}: report"),
        kicker=content.kicker,
        name=text(facts.name),
        question=text(first_line),
        more=paragraphs(rest),
        navigation="".join(f'<a href="#{name}">{text(title)}</a>' for name, title, _ in found),
        warning=warning(facts),
        sections="".join(section(name, title, html) for name, title, html in found),
        measurements=to_script(payload(_charted(content))),
        style=_part("style.css"),
        script="".join(_part(f"{name}.js") for name in ("page", *(_CHART_SCRIPTS if len(_charted(content)) else ()))),
    )


def _chart(content: Content) -> str:
    if _charted(content).empty:
        return ""
    steps = _charted(content)["method"].isin(LEARNED).all()  # of which an epoch is a full-batch step
    lines = "features" if content.is_of_graphs else "networks"
    words = {"time": "step" if steps else "epoch", "lines": lines, "Lines": lines.capitalize()}
    return Template(_part("chart.html")).substitute(words)


def _charted(content: Content) -> Frame:
    """What the chart has lines of: eigenvectors of a graph, and what it looks like, are one point each."""
    return content.measurements[~content.measurements["method"].isin((EIGENVECTORS, GRAPH))]


def _grid(content: Content) -> str:
    if content.is_of_graphs and not content.facts.trials:
        return ""
    return grid(content.facts, content.measurements) + options(content.facts)


def _claims(content: Content) -> str:
    judged = content.at_their_end(content.networks)
    return claims_table(content.claims, which_checkpoints(judged) if len(judged) else "")


def _results(content: Content) -> str:
    shown = content.at_their_end(content.networks)
    left_out = content.networks["trial_key"].nunique() - shown["trial_key"].nunique()
    words = f"Left out: {left_out} measured trial(s) that failed or are not at their end."
    return results_table(shown) + (paragraphs(words) if left_out else "")


def _scale(content: Content) -> str:
    if content.is_of_graphs:
        return graph_scale(content.facts, content.measurements)
    return scale(content.facts, content.networks)


_SECTIONS: Final[dict[str, tuple[str, Callable[[Content], str]]]] = {
    "look": ("What the graph looks like", lambda content: look_of_graphs(content.measurements)),
    "graph": ("Learned on the graph", lambda content: learned_table(content.measurements)),
    "eigenvectors": ("Its eigenvectors", lambda content: eigenvectors_table(content.measurements)),
    "claims": ("Claims", _claims),
    "finetuning": ("Probe, fine-tune, or both", lambda content: finetuning_table(content.measurements)),
    "transfer": ("Source and target", lambda content: transfer_table(content.measurements)),
    "estimated": ("The estimated graph", lambda content: look_of_estimates(content.measurements)),
    "results": ("Results", _results),
    "targets": ("Targets of graded randomness", lambda content: targets_table(content.measurements)),
    "chart": ("Chart", _chart),
    "figures": ("Figures", lambda content: figures(content.figures)),
    "trouble": ("Failures and warnings", lambda content: trouble(content.facts)),
    "grid": ("Grid", _grid),
    "scale": ("Images and scale", _scale),
    "commands": ("Commands", lambda content: commands(content.facts)),
    "environment": ("Environment", lambda content: environment(content.facts)),
}
"""Title of each section and what makes it; a section without content is left out."""


def _part(name: str) -> Any:
    return (_HERE / name).read_text(encoding="utf-8")
