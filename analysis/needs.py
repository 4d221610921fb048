"""What a figure or a claim looks for in the table, and how to get it where it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Protocol

import numpy as np

from analysis.finetuned_choice import ACCURACY, FT, PROTOCOLS, TARGET, chosen, is_fine_tuned
from analysis.measuring import SHIFTED, measuring_command
from analysis.tasks import DATA, DOMAINS, SAMPLE

Frame = Any
"""A pandas frame; pyright cannot follow what selecting rows of one returns."""

NO_AUGMENTATION: Final = "supervised (no augmentation)"

LABELLED: Final = ("supervised", "dann", "self_training")
"""How the names of methods that see labels begin."""

TRAINING: Final = "training"
"""Name of the layer of the curves of pretraining."""

TRAIN_ONE: Final = "python sweeps/depth_width.py --method vicreg"

_OF_TARGET, _OF_SOURCE = "target_accuracy_", "source_accuracy_"


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

    @property
    def words(self) -> str:
        """What it is: "cdnv at level class (test)"."""
        level = f" at level {self.level}" if self.level else ""
        return f"{self.metric}{level}{f' ({self.split})' if self.split else ''}"

    def command(self, sweep: str) -> str:
        """Returns what measures it at all checkpoints of a sweep that has it at some."""
        return measuring_command(self.metric, self.level, sweep, begun=True)

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
            return Lacking(f"needs {self.words}", measuring_command(self.metric, self.level, sweep))
        known = table.loc[table["layer"] >= 0, "epoch"]  # other metrics may be measured at more checkpoints
        if rows["epoch"].nunique() < self.num_epochs:
            return Lacking(
                f"needs {self.num_epochs} measured epochs of {self.metric}{where}, has {rows['epoch'].nunique()}",
                self._at_more_epochs(sweep, known.nunique() >= self.num_epochs),
            )
        if self.start and not (rows["epoch"] == 0).any():
            return Lacking(
                f"needs {self.metric}{where} at epoch 0, begins with epoch {rows['epoch'].min()}",
                self._at_more_epochs(sweep, (known == 0).any()),
            )
        if rows["layer"].nunique() < self.num_layers:
            what = f"needs {self.num_layers} layers of {self.metric}{where}, has {rows['layer'].nunique()}"
            return Lacking(what, "a sweep with a larger --depth")
        return None

    def _at_more_epochs(self, sweep: str, known: bool) -> str:
        """What measures it at more checkpoints, which are known or only may be there."""
        none = "" if known else ", or if it has no more checkpoints a sweep with more --epochs and --num-checkpoints"
        return self.command(sweep) + none


class OneOf(NamedTuple):
    """All needs of one group or of another; named is what the first lacks."""

    groups: Sequence[Sequence[Need]]

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        found = [
            next((lacking for need in needs if (lacking := need.lacking(table, sweep)) is not None), None)
            for needs in self.groups
        ]
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
        groups = f"{DOMAINS}{SHIFTED}" if self.level == DOMAINS else f"{DATA} {SAMPLE}"
        way = f"python -m analysis {sweep} --metrics umap --levels {groups}"
        if rows.empty:
            return Lacking(f"needs UMAP of level {self.level}", way)
        if rows.groupby("trial_key")["epoch"].nunique().max() < self.num_epochs:
            return Lacking(f"needs UMAP of a trial at {self.num_epochs} epochs", way)
        return None


class Curve(NamedTuple):
    """A curve of pretraining, over two epochs at least."""

    metric: str

    @property
    def words(self) -> str:
        """What it is: "the curve of invariance"."""
        return f"the curve of {self.metric}"

    def command(self, sweep: str) -> str:
        """Returns what puts it into the table for every finished trial that lacks it."""
        return f"python -m analysis {sweep}"

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        curves = table[table["layer_name"] == TRAINING]
        rows = curves[curves["metric"] == self.metric]
        if rows.empty:
            # A trial's curves come together: others without this one are of methods that have no such term.
            way = TRAIN_ONE if len(curves) else self.command(sweep)
            return Lacking(f"needs {self.words}, which finished trials of methods with that term have", way)
        if rows["epoch"].nunique() < 2:
            return Lacking(f"needs 2 epochs of training, has {rows['epoch'].nunique()}", "a sweep with more --epochs")
        return None


class Trials(NamedTuple):
    """Trials of a method; "self-supervised" is any that sees no labels."""

    method: str

    def takes(self, method: str) -> bool:
        """Returns whether trials of a method, as the table names it, are looked for."""
        return is_self_supervised(method) if self.method == "self-supervised" else method == self.method

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        if any(map(self.takes, table["method"].unique())):
            return None
        if self.method == "self-supervised":
            return Lacking("needs self-supervised trials", TRAIN_ONE)
        flag = " --no-augment" if self.method == NO_AUGMENTATION else ""
        return Lacking(f"needs trials of {self.method}", f"python sweeps/depth_width.py --method supervised{flag}")


class Adapted(NamedTuple):
    """Trials of a sweep on transfer, trained on the images of some domains.

    Attributes:
        domains: Any of these, as the names of the methods say: "source", "source + target", "source + target + extra".
        method: With labels; "" is any that sees none.
    """

    domains: tuple[str, ...]
    method: str = ""

    def takes(self, method: str) -> bool:
        """Returns whether trials of a method, as the table names it, are looked for."""
        if not method.endswith(tuple(f" ({domains})" for domains in self.domains)):
            return False
        return method.startswith(self.method) if self.method else is_self_supervised(method)

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `Need`."""
        if any(map(self.takes, table["method"].unique())):
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
            methods = table.loc[table["metric"] == ACCURACY, "method"].unique()
            if any(map(is_fine_tuned, methods)):
                return Lacking(
                    "needs fine-tuned trials that differ in what a table says: of all of these another one has the "
                    "same checkpoint, learning rate and seed, as where sweeps with other --epochs or images are joined",
                    "one sweep by itself",
                )
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


def is_self_supervised(method: str) -> bool:
    """Returns whether a method, as the table names it, sees no labels and was trained here."""
    return not method.startswith(LABELLED) and method != "foreign"
