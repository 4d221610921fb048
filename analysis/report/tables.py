"""The tables of numbers in the report: claims, results by network and label level, targets of graded randomness."""

from __future__ import annotations

import math
from typing import Final

from analysis.claims.base.standing import UNMEASURED, named_apart, shown, standing, tally
from analysis.figures.base.numbers import Frame
from analysis.finetuned_choice import without_fine_tuned
from analysis.report import markup
from analysis.report.results import METRICS, Estimate, results
from ray_ssl.targets import FEW_LABELS, LARGE_SHARE

_NONE: Final = "\N{EN DASH}"
_JOINED: Final = "\N{NO-BREAK SPACE}"
_TARGET: Final = ("target_randomness", "target_agreement", "target_entropy", "target_num_used")
_LARGEST: Final = "target_largest_share"
_PLUS_MINUS: Final = "\N{PLUS-MINUS SIGN}"
_WHICH: Final = "which layer"
_FOLDED_ROWS: Final = 12  # a longer table can be folded away


def claims_table(claims: Frame, note: str = "") -> str:
    """Returns the claims, one a row, and folded away those that nothing is measured of; "" where there are none.

    Args:
        claims: See `analysis.claims.check`.
        note: What counts, where that is to be said.
    """
    if claims.empty:
        return ""
    where = [name for name in ("dataset", "method") if claims[name].nunique() > 1]
    caption = (
        f"{tally(claims)}. Published trends of arXiv 2305.15614, or of the paper that is named, each as a number of "
        "this sweep's measurements; one holds where the whole interval keeps the bound."
    )
    caption += f" {note[0].upper()}{note[1:]}." if note else ""
    claims = named_apart(claims).assign(standing=standing(claims))
    measured, unmeasured = claims[claims["standing"] != UNMEASURED], claims[claims["standing"] == UNMEASURED]
    head = ["claim", *where, "verdict", "estimate", "95 % interval", "bound", "trials", "note"]
    right = [head.index(name) for name in ("estimate", "95 % interval", "bound", "trials")]
    about = [head.index(name) for name in (*where, "verdict", "trials")]
    found = markup.paragraphs(caption)
    if len(measured):
        found = markup.table(head, (_claim(row, where) for _, row in measured.iterrows()), caption, right, about)
    if len(unmeasured):
        rows = (_claim(row, where) for _, row in unmeasured.iterrows())
        more = markup.table(head, rows, "What is lacking, and what gives it, is in the last column.", right, about)
        found += markup.details(tally(unmeasured), more)
    return found


def _claim(row: Frame, where: list[str]) -> list[str]:
    source = row["figure"] if row["figure"].startswith("arXiv") else f"figure {row['figure']}"
    about = f"{source}: {row['statistic']}"
    interval = _NONE if math.isnan(row["low"]) else f"{shown(row['low'])} to {shown(row['high'])}"
    basis = f" over {row['basis']}" if row["basis"] else ""
    return [
        f"{markup.text(row['statement'])}<br><small>{markup.text(about)}</small>",
        *(markup.text(row[name]) for name in where),
        f'<span class="verdict">{markup.text(row["standing"])}</span>',
        _NONE if math.isnan(row["estimate"]) else shown(row["estimate"]),
        interval + markup.text(basis), markup.text(row["bound"]), str(row["num_trials"]), markup.text(row["note"]),
    ]  # fmt: skip


def results_table(measurements: Frame) -> str:
    """Returns test accuracies after the last epoch, one network and level a row; "" where there are none.

    Args:
        measurements: With networks' names; fine-tuned trials, which differ in more than the seed, are left out.
    """
    found = results(without_fine_tuned(measurements))
    if not found:
        return ""
    several = len({row.dataset for row in found}) > 1
    metrics = [name for name in METRICS if any(name in row.best for row in found)]
    head = ["network", *(["images"] if several else []), "level", "epoch"]
    for name in metrics:
        head += [f"{METRICS[name]}, representation", f"{METRICS[name]}, best layer", f"{METRICS[name]}, {_WHICH}"]
    head.append("seeds")
    rows = []
    for row in found:
        cells = [markup.text(row.network), *([markup.text(row.dataset)] if several else []),
                 markup.text(row.level), str(row.epoch)]  # fmt: skip
        for name in metrics:
            layer, best = row.best.get(name, ("", None))
            which = f"{row.layers[layer]}{_JOINED}{layer}" if layer else ""
            cells += [_percent(row.representation.get(name)), _percent(best), markup.text(which)]
        counts = {e.n for e in (*row.representation.values(), *(e for _, e in row.best.values()))}
        rows.append([*cells, " to ".join(map(str, sorted({min(counts), max(counts)})))])
    caption = (
        f"Test accuracy in per cent after the last measured epoch, mean {_PLUS_MINUS} half the 95 % confidence "
        "interval over seeds (Student's t; one seed has none). NCC: nearest class centre. The best layer is chosen by "
        "the same mean, so its accuracy is a little too good; layers have the numbers of the table and of the figures."
    )
    names = ("network", "images", "level")
    numeric = [i for i, title in enumerate(head) if title not in names and not title.endswith(_WHICH)]
    about = [i for i, title in enumerate(head) if title in ("images", "level", "epoch", "seeds")]
    shown = markup.table(head, rows, caption, numeric, about)
    return shown if len(rows) <= _FOLDED_ROWS else markup.unfolded(f"The {len(rows)} results", shown)


def targets_table(measurements: Frame) -> str:
    """Returns what the targets of graded randomness are, one a row, semantic first; "" where there are none."""
    rows = measurements[measurements["metric"].isin(_TARGET) & (measurements["split"] == "train")]
    if rows.empty:
        return ""
    several = rows["dataset"].nunique() > 1
    # They are the same for every trial, epoch and layer.
    wide = rows.pivot_table(index=["dataset", "level"], columns="metric", values="value", aggfunc="first")
    wide = wide.sort_values(["dataset", "target_randomness"]).reset_index()
    largest, trained = (_largest_shares(measurements, split) for split in ("test", "train"))
    shared = ["most frequent label of test images"] if len(largest) else []
    lines = []
    for _, row in wide.iterrows():
        remark = _degenerate(row["target_num_used"], trained.get((row["dataset"], row["level"]), math.nan))
        where = [markup.text(row["dataset"])] if several else []
        share = largest.get((row["dataset"], row["level"]), math.nan)
        most = [_NONE if math.isnan(share) else f"{100 * share:.1f}"] if shared else []
        lines.append([markup.text(row["level"]), *where, f"{row['target_randomness']:.2f}",
                      f"{100 * row['target_agreement']:.1f}", f"{row['target_entropy']:.2f}",
                      f"{row['target_num_used']:.0f}", *most, remark])  # fmt: skip
    caption = (
        "Labels of the training images. Randomness: 0 the teacher at the end of its training, or the classes (noise); "
        "1 the teacher at initialisation, or uniform labels. Agreement with the classes in per cent, entropy in nats; "
        "labels that are hardly used or all the same ask for little."
    )
    if shared:
        caption += " The share of the most frequent label, in per cent, is the test accuracy of always guessing it."
    places = ["images"] if several else []
    head = ["target", *places, "randomness", "agreement", "entropy", "labels used", *shared, ""]
    return markup.table(head, lines, caption, range(1 + len(places), len(head) - 1), range(1, 1 + len(places)))


def _largest_shares(measurements: Frame, split: str) -> Frame:
    rows = measurements[(measurements["metric"] == _LARGEST) & (measurements["split"] == split)]
    return rows.groupby(["dataset", "level"])["value"].first()


def _degenerate(num_used: float, share: float) -> str:
    """What a target with next to one label is marked with; a share that was not measured is NaN."""
    if num_used < FEW_LABELS:
        return "degenerate: one label alone"
    return f"degenerate: {100 * share:.0f} % on one label" if share > LARGE_SHARE else ""


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return _NONE
    interval = "" if math.isnan(estimate.half_width) else f" {_PLUS_MINUS} {100 * estimate.half_width:.1f}"
    return f"{100 * estimate.mean:.1f}{interval}"
