"""Fine-tuned networks in a table: what each began with, and which learning rate and epoch validation images choose.

As `finetuned_outcomes`, from the table alone, where the trial's method says what it began with (`method_name`) and a
row of its own which learning rate it had. Of equal ones the smallest rate and the earliest epoch are taken; tables that
were measured before rates were put into them know the epoch alone.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pandas as pd

from ray_ssl.errors import UserError

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

VALIDATION, TEST, TARGET = "validation", "test", "target"
"""In the table's column split: images of the source that are chosen on, its test images, test images of the target."""
ACCURACY, DISTANCE, RELATIVE_DISTANCE = "head_accuracy", "feature_distance", "relative_feature_distance"
RATE: Final = "peak_learning_rate"
LP, FT, LP_FT = "lp", "ft", "lp_ft"
PROTOCOLS: Final = {LP: "LP", FT: "FT", LP_FT: "LP-FT"}

USUAL: Final = "BatchNorm in training"
"""Names the setting "" where it stands beside others."""
FINE_TUNINGS: Final = "fine-tunings of one encoder"
"""What an interval of one encoder is over."""
FROZEN: Final = "frozen BatchNorm"
"""In the setting of trials that keep the statistics of the pretraining."""

START: Final = ("dataset", "level", "network", "pretrained_seed", "pretrained_epoch")
"""Columns that say what is fine-tuned on which images; `pretrained_epoch` stands for the quality of its features."""
CASE: Final = (*START, "setting", "seed")
"""Columns in which the trials of a protocol agree that differ in the learning rate alone."""

_NAME: Final = re.compile(
    r"supervised(?: on \S+)? from (?P<network>\S+)-s(?P<pretrained_seed>\d+)-e(?P<pretrained_epoch>\d+)"
    r"(?P<probe> \(probed head\))?(?P<setting>.*)"
)


def is_fine_tuned(method: str) -> bool:
    """Returns whether a method, as the table names it, began with the weights of a checkpoint."""
    return _NAME.fullmatch(method) is not None


def without_fine_tuned(table: Frame) -> Frame:
    """Returns the rows of all other trials: fine-tuned ones of one network differ in more than the seed."""
    fine_tuned = [method for method in table["method"].unique() if is_fine_tuned(method)]
    return table[~table["method"].isin(fine_tuned)]


def chosen(table: Frame) -> Frame:
    """Returns what validation images choose: a row for each case and protocol, sorted.

    The linear probe (`LP`) is epoch 0 of a trial that begins with its head; it has no seed, and stands there once. Two
    trials of one case and rate differ in something that the table does not say: their case is left out.

    Args:
        table: As `analysis.table.read_table` returns it, of any number of data sets and sweeps.

    Returns:
        Columns `CASE` ("level": what is learned, "class" or "superclass"; "network": e.g. "vicreg-5-32"; "setting": ""
        or e.g. "frozen BatchNorm"), protocol, trial_key, epoch, rate, and accuracies 0..1 on "validation", "test" and
        "target" images (NaN where there is no target), and `lowest_rate` and `highest_rate` of those that were chosen
        from.
    """
    rows = _with_starts(table[(table["metric"] == ACCURACY) & (table["layer_name"] == "representation")])
    wide = rows.pivot_table(index=[*CASE, "probe", "trial_key", "epoch"], columns="split", values="value")
    wide = wide.reindex(columns=[VALIDATION, TEST, TARGET]).dropna(subset=[VALIDATION, TEST]).reset_index()
    rates = table[table["metric"] == RATE].drop_duplicates("trial_key").set_index("trial_key")["value"]
    wide = wide.assign(rate=wide["trial_key"].map(rates).astype(float))
    wide = wide[~_unclear(wide)]
    begins = wide["epoch"] == 0
    protocol = wide["probe"].map({True: LP_FT, False: FT}).where(~begins, LP)
    wide = wide.assign(protocol=protocol.astype(object))[wide["probe"] | ~begins]
    wide = wide.assign(seed=wide["seed"].where(wide["protocol"] != LP, 0))
    best = wide.sort_values([VALIDATION, "rate", "epoch", "trial_key"], ascending=[False, True, True, True])
    grid = best.groupby([*CASE, "protocol"])["rate"]
    best = best.assign(lowest_rate=grid.transform("min"), highest_rate=grid.transform("max"))
    best = best.drop_duplicates([*CASE, "protocol"]).drop(columns="probe")
    best.columns.name = None
    return best.sort_values([*CASE, "protocol"], ignore_index=True)


def moved(found: Frame, table: Frame, metric: str = DISTANCE) -> Frame:
    """Returns what was chosen, with mean distances of the representation in the place of accuracies.

    Args:
        found: As `chosen`.
        table: That it was chosen from.
        metric: `DISTANCE` or `RELATIVE_DISTANCE`.
    """
    rows = table[(table["metric"] == metric) & (table["layer_name"] == "representation")]
    wide = rows.pivot_table(index=["trial_key", "epoch"], columns="split", values="value")
    wide = wide.reindex(columns=[TEST, TARGET]).reset_index()
    return found.drop(columns=[TEST, TARGET]).merge(wide, on=["trial_key", "epoch"])


def in_training(found: Frame) -> Frame:
    """Returns which rows with a setting are of trials whose BatchNorm, if the network has any, was in training."""
    return ~found["setting"].str.contains(FROZEN, regex=False)


def begins_elsewhere(found: Frame) -> Frame:
    """Returns in which rows LP-FT does not begin as its probe: from an untrained encoder, with BatchNorm in training.

    The probe is fitted with running statistics as they are initialised (mean 0, variance 1), far from those of a batch,
    by which the first step is made.
    """
    return in_training(found) & (found["pretrained_epoch"] == 0)


def newest(found: Frame) -> Frame:
    """Returns the rows of the newest checkpoint of every pretrained network."""
    same = [name for name in START if name != "pretrained_epoch"]
    return found[found["pretrained_epoch"] == found.groupby(same)["pretrained_epoch"].transform("max")]


def which_checkpoints(table: Frame) -> str:
    """Returns which checkpoints `newest` takes and which not, for people; "" where no network has several."""
    found = chosen(table)
    last = newest(found)["pretrained_epoch"].drop_duplicates().sort_values()
    others = found.drop(newest(found).index)["pretrained_epoch"].drop_duplicates().sort_values()
    if others.empty:
        return ""
    left_out = ("that of", "does not") if len(others) == 1 else ("those of", "do not")
    return (
        f"of fine-tuned encoders with several checkpoints the last, {_epochs(last)}, counts; "
        f"{left_out[0]} {_epochs(others)} {left_out[1]}: python -m analysis claims --from-epoch N judges another"
    )


def of_epoch(table: Frame, epoch: int) -> Frame:
    """Returns the rows without those fine-tuned trials that began with a checkpoint of another epoch.

    Raises:
        UserError: None began with one of this.
    """
    known = {name: int(found["pretrained_epoch"]) for name in table["method"].unique()
             if (found := _NAME.fullmatch(name))}  # fmt: skip
    if epoch not in known.values():
        there = ", ".join(map(str, sorted(set(known.values())))) or "none, for nothing was fine-tuned"
        raise UserError(f"--from-epoch {epoch}: no fine-tuned checkpoint is of that epoch; there are {there}")
    return table[~table["method"].isin([name for name, other in known.items() if other != epoch])]


def _epochs(numbers: Frame) -> str:
    return f"epoch{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def by_setting(table: Frame) -> dict[str, Frame]:
    """Returns the rows of each way to fine-tune by its name, e.g. "frozen BatchNorm", or "" of the usual one.

    Probes are the same whatever trains after them: those of all stand in each. All rows are under "" where nothing is
    fine-tuned.
    """
    known = {method: found for method in table["method"].unique() if (found := _NAME.fullmatch(method))}
    settings = {method: _setting(found) for method, found in known.items()}
    probed = [method for method, found in known.items() if found["probe"]]
    of_probe = table["method"].isin(probed) & (table["epoch"] == 0)
    rows = table["method"].map(settings)
    return {name: table[(rows == name) | of_probe] for name in sorted(set(settings.values()))} or {"": table}


def side_by_side(found: Frame, value: str) -> Frame:
    """Returns a row for each case of fine-tuning, with a column of one value for each of `PROTOCOLS`, NaN where none.

    Args:
        found: As `chosen`; the linear probe stands beside all seeds and settings of its start.
        value: Name of a column.
    """
    tuned = found[found["protocol"] != LP].pivot_table(index=list(CASE), columns="protocol", values=value)
    probes = found[found["protocol"] == LP].drop_duplicates(list(START))
    probes = probes.rename(columns={value: LP})[[*START, LP]]
    wide = tuned.reindex(columns=[FT, LP_FT]).reset_index().merge(probes, on=list(START), how="left")
    return wide[[*CASE, *PROTOCOLS]]


def _unclear(wide: Frame) -> Frame:
    """Which rows are of a case that has two trials of one rate."""
    same = [*CASE, "probe"]
    trials = wide.drop_duplicates([*same, "trial_key"])
    twins = trials[trials["rate"].notna() & trials.duplicated([*same, "rate"], keep=False)]
    return wide.set_index(same).index.isin(twins.set_index(same).index)


def _with_starts(rows: Frame) -> Frame:
    """The rows of fine-tuned trials, with what their method says."""
    known = {method: _NAME.fullmatch(method) for method in rows["method"].unique()}
    parsed = {method: found for method, found in known.items() if found}
    rows = rows[rows["method"].isin(list(parsed))]

    def of(name: str) -> list[Any]:
        return [parsed[method][name] for method in rows["method"]]

    return rows.assign(
        network=pd.Series(of("network"), rows.index, dtype=object),
        pretrained_seed=pd.Series([int(text) for text in of("pretrained_seed")], rows.index, dtype="int64"),
        pretrained_epoch=pd.Series([int(text) for text in of("pretrained_epoch")], rows.index, dtype="int64"),
        probe=pd.Series([text is not None for text in of("probe")], rows.index, dtype=bool),
        setting=pd.Series([_setting(parsed[method]) for method in rows["method"]], rows.index, dtype=object),
    )


def _setting(found: re.Match[str]) -> str:
    return ", ".join(re.findall(r"\((.*?)\)", found["setting"]))
