"""The parts of the report that tell of the sweep itself: its trials and options, trouble, commands, environment."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from analysis.curves import TRAINING_LAYER
from analysis.figures.base.numbers import Frame
from analysis.report import markup
from analysis.report.facts import Facts, TrialFacts, as_text
from analysis.table import FOREIGN
from ray_ssl.ledger import TrialState
from ray_ssl.naming import flatten

_FOLDED_ROWS: Final = 12  # a longer table is folded away
_PUBLISHED: Final = "The published curves (arXiv 2305.15614) are of 50,000 training images and 1000 epochs."


def warning(facts: Facts) -> str:
    """Returns what should not be overlooked, with the way to it; "" where all went well."""
    words = []
    for number, what in (
        (len(facts.in_state(TrialState.FAILED)), "failed"),
        (len(facts.in_state(TrialState.NEW)) + len(facts.in_state(TrialState.RESUMABLE)), "not finished"),
        (sum(trial.collapsed for trial in facts.trials), "collapsed"),
    ):
        if number:
            words.append(f"{number} of {len(facts.trials)} trials {what}")
    return markup.notice(f'{"; ".join(words)}: <a href="#trouble">see below</a>.') if words else ""


def trouble(facts: Facts) -> str:
    """Returns the trials that failed, with reasons, that are not finished or were stopped early, and that collapsed."""
    found = ""
    failed = facts.in_state(TrialState.FAILED)
    if failed:
        rows = [[*_names(trial), markup.text(trial.reason), markup.text(trial.log)] for trial in failed]
        found += markup.table(["trial", "key", "reason", "log"], rows, f"{len(failed)} failed")
    unfinished = facts.in_state(TrialState.NEW) + facts.in_state(TrialState.RESUMABLE)
    for what, trials in (
        ("not finished: the sweep's command goes on with them", unfinished),
        ("stopped early by a scheduler", facts.in_state(TrialState.STOPPED)),
        ("collapsed: two evaluations in a row found embeddings of almost no spread or of rank near 1, so that what "
         "is measured of them tells little", [trial for trial in facts.trials if trial.collapsed]),
    ):  # fmt: skip
        if trials:
            found += markup.table(["trial", "key"], map(_names, trials), f"{len(trials)} {what}")
    return found or ("<p>No trial failed or collapsed.</p>" if facts.trials else "")


def _names(trial: TrialFacts) -> list[str]:
    return [markup.text(trial.name), f"<code>{markup.text(trial.key)}</code>"]


def grid(facts: Facts, measurements: Frame) -> str:
    """Returns how many trials stand where, the values of each option that varies, and networks trained elsewhere."""
    states = Counter(trial.state.value for trial in facts.trials)
    pairs = [("trials", markup.text(", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none"))]
    for path in facts.varied():
        values = {as_text(value): value for trial in facts.trials for value in [trial.options.get(path)]}
        shown = sorted(values, key=lambda t: (not isinstance(values[t], (int, float)), values[t] if _number(values[t])
                                              else 0, t))  # fmt: skip
        pairs.append((path, markup.text(", ".join(value or "(none)" for value in shown))))
    foreign = measurements[measurements["method"] == FOREIGN]["trial_key"].unique()
    if len(foreign):
        pairs.append(("trained elsewhere", ", ".join(f"<code>{markup.text(key)}</code>" for key in foreign)))
    return markup.facts(pairs)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def options(facts: Facts) -> str:
    """Returns what differs between the trials, trial by trial, and what all share."""
    found = ""
    varied = facts.varied()
    if varied:
        rows = [[f"{markup.text(trial.name)} <code>{markup.text(trial.key)}</code>", markup.text(trial.state.value),
                 *(markup.text(as_text(trial.options.get(path))) for path in varied)]
                for trial in sorted(facts.trials, key=lambda trial: trial.name)]  # fmt: skip
        table = markup.table(["trial", "state", *varied], rows, "Options that differ between the trials")
        found += table if len(rows) <= _FOLDED_ROWS else markup.details(f"The {len(rows)} trials", table)
    shared = _shared(facts)
    if shared:
        pairs = [(path, markup.text(as_text(value) or "(none)")) for path, value in sorted(shared.items())]
        found += markup.details(f"The {len(pairs)} options that all trials share", markup.facts(pairs))
    return found


def _shared(facts: Facts) -> dict[str, Any]:
    varied = set(facts.varied())
    first = facts.trials[0].options if facts.trials else facts.shared
    return {path: value for path, value in first.items() if path not in varied}


def scale(facts: Facts, measurements: Frame) -> str:
    """Returns how many images, epochs, networks and measurements there are; "" without networks and trials.

    Args:
        facts: What the sweep's records say.
        measurements: Of networks.
    """
    if measurements.empty and not facts.trials:
        return ""
    data, pairs = facts.data, _images(facts)
    epochs = sorted({trial.num_epochs for trial in facts.trials})
    if epochs:
        pairs.append(("epochs", markup.text(", ".join(map(str, epochs)))))
    layers = measurements[measurements["layer"] > TRAINING_LAYER]
    pairs += [
        ("networks", str(measurements[["dataset", "network"]].drop_duplicates().shape[0])),
        ("seeds", markup.text(", ".join(map(str, sorted(measurements["seed"].unique()))))),
        ("checkpoints", str(layers[["trial_key", "epoch"]].drop_duplicates().shape[0])),
        ("measurements", f"{len(measurements):,}"),
    ]
    # A target set may lack labels, and what has none is not measured; how many that are is not recorded.
    foreign = any(str(trial.options.get("data.shift", "")).startswith("to:") for trial in facts.trials)
    measured = "measured on" if data and not foreign else "measured on at most"
    for settings, tasks in _by_settings(facts).items():
        pairs.append((measured, f"{markup.text(settings)} <small>({markup.text(', '.join(tasks))})</small>"))
    return markup.facts(pairs) + f"<p>{markup.text(_PUBLISHED)} Fewer images and epochs can show other trends.</p>"


def graph_scale(facts: Facts, measurements: Frame) -> str:
    """Returns how many images an exact graph is of, and how many measurements there are; "" where nobody recorded it.

    Args:
        facts: What the sweep's records say.
        measurements: All of them.
    """
    pairs = _images(facts)
    return markup.facts([*pairs, ("measurements", f"{len(measurements):,}")]) if pairs else ""


def _images(facts: Facts) -> list[tuple[str, str]]:
    data = facts.data
    if not data:
        return []
    classes = f"{data['num_classes']} classes"
    classes += f" in {data['num_superclasses']} superclasses" if data["num_superclasses"] else ""
    return [("images", markup.text(f"{data['name']}: {data['num_train']:,} for training, "
                                   f"{data['num_test']:,} for testing, {classes}"))]  # fmt: skip


def _by_settings(facts: Facts) -> dict[str, list[str]]:
    """The tasks of each distinct set of settings, which is put in words; no more images than there are."""
    there = {f"{name}_images": facts.data[name] for name in ("num_train", "num_test") if name in facts.data}
    found: dict[str, list[str]] = {}
    for task, settings in sorted(facts.settings.items()):
        used = {name: min(value, there[name]) if name in there else value for name, value in flatten(settings).items()}
        named = [(name.rpartition(".")[2].replace("_", " "), as_text(value)) for name, value in used.items()]
        words = ", ".join(f"{name} {value}" for name, value in named if value)
        if words:
            found.setdefault(words, []).append(task)
    return found


def commands(facts: Facts) -> str:
    """Returns what was typed, and what can be typed now."""
    found = ""
    for command in facts.commands:
        what = "Ran it last, and resumes it" if command is facts.commands[-1] else "Ran it"
        found += f"<p>{what}, in {markup.text(command['folder'])}:</p>{markup.command(command['line'])}"
    if facts.trials and not facts.commands:
        found += "<p>The command that ran it is not recorded; the same command resumes it.</p>"
    for purpose, line in facts.analysis_commands():
        found += f"<p>{markup.text(purpose[0].upper() + purpose[1:])}:</p>{markup.command(line)}"
    return found


def environment(facts: Facts) -> str:
    """Returns where the trials were trained."""
    rows = facts.environments()
    names = sorted({name for values, _ in rows for name in values})
    if not names:
        return ""
    lines = [[str(count), *(markup.text(values.get(name, "")) for name in names)] for values, count in rows]
    return markup.table(["trials", *names], lines, "Where the finished trials were trained")
