"""What a figure or a claim looks for in the table, and how to get it where it is not there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from analysis.finetuned_choice import ACCURACY, FT, PROTOCOLS, TARGET, chosen
from analysis.tasks import DATA, DOMAINS, METRICS, SAMPLE, TARGETS, is_on_request, metric_groups, metric_names
from ray_ssl.plugins import plugin_module

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

NO_AUGMENTATION: Final = "supervised (no augmentation)"

LABELLED: Final = ("supervised", "dann", "self_training")
"""How the names of methods that see labels begin."""

_TRAINING = "training"
_OF_TARGET, _OF_SOURCE = "target_accuracy_", "source_accuracy_"
_SHIFTED = ", of a sweep with a --shift, as sweeps/transfer.py is"


class Lacking(NamedTuple):
    """What a table lacks.

    Attributes:
        what: One line, such as "needs cdnv at level class".
        way: The command or the sweep that gives it; "" where nothing is known to.
    """

    what: str
    way: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.way}" if self.way else self.what


class Need(Protocol):
    """Something to look for."""

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """Returns what is lacking; None where it is there.

        Args:
            table: See `analysis.table`.
            sweep: The sweep's folder, as it is to stand in the command.
        """
        ...


class Measured(NamedTuple):
    """Finite values of a metric.

    Attributes:
        metric: Its name in the table.
        level: Label level; "" is any.
        split: "train" or "test"; "" is either.
        num_epochs: At so many epochs at least.
        start: At epoch 0, too.
        num_layers: Of so many layers at least.
    """

    metric: str
    level: str = ""
    split: str = ""
    num_epochs: int = 1
    start: bool = False
    num_layers: int = 1

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        rows = table[(table["metric"] == self.metric) & np.isfinite(table["value"])]
        others = rows
        rows = rows[rows["level"] == self.level] if self.level else rows
        rows = rows[rows["split"] == self.split] if self.split else rows
        where = f" at level {self.level}" if self.level else ""
        if rows.empty:
            if self.level == "superclass" and "superclass" not in set(table["level"]) and not others.empty:
                images = " and ".join(sorted(others["dataset"].unique()))
                return Lacking(
                    f"needs images with superclasses, as shapes or cifar100 have them: {images} has classes alone"
                )
            in_source = self.metric.replace(_OF_TARGET, _OF_SOURCE)
            if in_source != self.metric and (table["metric"] == in_source).any():
                images = " and ".join(sorted(table["dataset"].unique()))
                return Lacking(
                    f"needs labels of the target of {images}: accuracy could be measured in the source alone"
                )
            split = f" ({self.split})" if self.split else ""
            return Lacking(f"needs {self.metric}{where}{split}", _command(self.metric, self.level, sweep))
        if rows["epoch"].nunique() < self.num_epochs:
            return Lacking(
                f"needs {self.num_epochs} measured epochs of {self.metric}{where}, has {rows['epoch'].nunique()}"
            )
        if self.start and not (rows["epoch"] == 0).any():
            return Lacking(f"needs {self.metric}{where} at epoch 0, begins with epoch {rows['epoch'].min()}")
        if rows["layer"].nunique() < self.num_layers:
            return Lacking(f"needs {self.num_layers} layers of {self.metric}{where}, has {rows['layer'].nunique()}")
        return None


class OneOf(NamedTuple):
    """All needs of one group or of another; named is what the first lacks."""

    groups: Sequence[Sequence[Need]]

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        found = [first_lacking(needs, table, sweep) for needs in self.groups]
        return found[0] if all(found) else None


class Shifts(NamedTuple):
    """Data sets, such as several shifts of one, in which a metric is measured."""

    metric: str
    num_datasets: int

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        found = table.loc[table["metric"] == self.metric, "dataset"].nunique()
        if found >= self.num_datasets:
            return None
        return Lacking(
            f"needs {self.metric} of {self.num_datasets} shifts, has {found}",
            f"python -m analysis claims {sweep} OTHER_SWEEP ...",
        )


class Projected(NamedTuple):
    """UMAP of a level, of some trial at so many epochs; looked for in the table of projections."""

    level: str
    num_epochs: int = 1

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        rows = table[table["level"] == self.level] if "label_name" in table else table.iloc[:0]
        if rows.empty:
            groups = f"{DOMAINS}{_SHIFTED}" if self.level == DOMAINS else f"{DATA} {SAMPLE}"
            return Lacking(
                f"needs UMAP of level {self.level}", f"python -m analysis {sweep} --metrics umap --levels {groups}"
            )
        if rows.groupby("trial_key")["epoch"].nunique().max() < self.num_epochs:
            return Lacking(f"needs UMAP of a trial at {self.num_epochs} epochs")
        return None


class Curve(NamedTuple):
    """A curve of pretraining, over two epochs at least."""

    metric: str

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        rows = table[(table["metric"] == self.metric) & (table["layer_name"] == _TRAINING)]
        if rows.empty:
            return Lacking(
                f"needs the curve of {self.metric}, which finished trials of methods with that term have",
                f"python -m analysis {sweep}",
            )
        if rows["epoch"].nunique() < 2:
            return Lacking(f"needs 2 epochs of training, has {rows['epoch'].nunique()}")
        return None


class Trials(NamedTuple):
    """Trials of a method; "self-supervised" is any that sees no labels."""

    method: str

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        methods = set(table["method"])
        if self.method == "self-supervised":
            there = any(map(is_self_supervised, methods))
            return None if there else Lacking("needs self-supervised trials", "a sweep with --method vicreg")
        if self.method in methods:
            return None
        flag = " --no-augment" if self.method == NO_AUGMENTATION else ""
        return Lacking(f"needs trials of {self.method}", f"a sweep with --method supervised{flag}")


class Adapted(NamedTuple):
    """Trials of a sweep on transfer, trained on the images of some domains.

    Attributes:
        domains: Any of these, as the names of the methods say: "source", "source + target", "source + target + extra".
        method: With labels; "" is any that sees none.
    """

    domains: tuple[str, ...]
    method: str = ""

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        ends = tuple(f" ({domains})" for domains in self.domains)
        there = [method for method in table["method"].unique() if method.endswith(ends)]
        if any(method.startswith(self.method) if self.method else is_self_supervised(method) for method in there):
            return None
        flags = f" --baselines {self.method}" if self.method else " --num-extra N" if "extra" in self.domains[0] else ""
        what = self.method or "self-supervised pretraining"
        return Lacking(f"needs trials of {what} ({self.domains[0]})", f"python sweeps/transfer.py{flags}")


class FineTuned(NamedTuple):
    """What validation chose of fine-tuned trials (see `finetuned_choice.chosen`).

    Attributes:
        protocols: All of these.
        in_target: With accuracies in a target.
    """

    protocols: tuple[str, ...] = ()
    in_target: bool = False

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        found = chosen(table)
        if found.empty:
            return Lacking(
                f"needs {ACCURACY} of fine-tuned trials", f"python sweeps/finetune.py --from {sweep} --shift SHIFT"
            )
        for protocol in self.protocols:
            if protocol not in set(found["protocol"]):
                heads = "fresh" if protocol == FT else "probe"
                return Lacking(f"needs {PROTOCOLS[protocol]}", f"python sweeps/finetune.py with --heads {heads}")
        if self.in_target and not found[TARGET].notna().any():
            return Lacking(f"needs {ACCURACY} in a target", "python sweeps/finetune.py with a --shift")
        return None


def first_lacking(needs: Iterable[Need], table: Frame, sweep: str) -> Lacking | None:
    """Returns what is lacking of the first need that is not met; None where all are."""
    return next((found for need in needs if (found := need.lacking(table, sweep)) is not None), None)


def is_self_supervised(method: str) -> bool:
    """Returns whether a method, as the table names it, sees no labels and was trained here."""
    return not method.startswith(LABELLED) and method != "foreign"


def _command(metric: str, level: str, sweep: str) -> str:
    """What measures a metric at a level."""
    if metric.startswith("connectivity_"):
        return f"python -m analysis connectivity {sweep}, of images with a --shift"
    module = next((name for name in metric_names() if metric in _spec_names(name)), None)
    if module and metric_groups(module) == (DOMAINS,):
        return f"python -m analysis {sweep} --levels {DOMAINS}{_SHIFTED}"
    group = SAMPLE if level == "sample" else TARGETS if level.startswith(("teacher-", "noise-")) else DATA
    flags = f" --metrics {module}" if module and is_on_request(module) else ""
    flags += f" --levels {group}" if group != DATA else ""
    flags += " --targets FOLDER_OF_SWEEPS_RANDOMNESS" if group == TARGETS else ""
    return f"python -m analysis {sweep}{flags}"


def _spec_names(module: str) -> list[str]:
    return [spec.name for spec in plugin_module(METRICS, module).SPECS]
