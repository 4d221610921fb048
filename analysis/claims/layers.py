"""Figure 5 of arXiv 2305.15614: linear test accuracy by layer, of classes and superclasses.

A representation that repeats the layer before it (as in RES-L-H) counts once. "Deep" layers are the later half. The
best layer before the last is chosen at the checkpoint before the last one, and compared at the last one: a maximum
over layers of the same numbers would be above the last layer by chance alone.
"""

from __future__ import annotations

from functools import partial
from typing import Final, NamedTuple

from analysis.claims.base.contract import CORRELATION, DIFFERENCE, SHARE, Claim, Frame
from analysis.claims.base.ends import with_ends
from analysis.claims.base.series import by_layer, last_epoch, minus, per_trial, rank_correlation
from analysis.figures.base.numbers import distinct_layers, prepare
from analysis.needs import Lacking, Measured

LINEAR: Final = "linear_accuracy"


class Layers(NamedTuple):
    """A network whose layers can be put in an order: so many that differ, not all equally good at the last epoch."""

    level: str
    num_layers: int

    def lacking(self, table: Frame, sweep: str) -> Lacking | None:
        """See `analysis.needs.Need`."""
        ends = with_ends(table)
        rows = _at_end(prepare(ends, LINEAR), self.level).groupby("trial_key")
        if not len(rows):
            return None  # at no trial's end: `ends.counted` says so
        most = int(rows["layer"].nunique().max())
        if most < self.num_layers:
            return Lacking(
                f"needs a network of {self.num_layers} layers, the deepest has {most} (a representation that repeats "
                "the layer before it counts once)",
                "a sweep with a larger --depth",
            )
        if (rows["value"].nunique() < 2).all():
            return Lacking(
                "every layer of every trial has the same accuracy at the last epoch, so they have no order",
                "a sweep with more --epochs and --num-test-images",
            )
        return None


def _accuracy(table: Frame, level: str) -> Frame:
    return by_layer(distinct_layers(table), LINEAR, level)


def _at_end(table: Frame, level: str) -> Frame:
    return last_epoch(_accuracy(table, level))


def training_gain(one: Frame) -> float | None:
    """Returns the accuracy at the last epoch less that at epoch 0, mean over layers."""
    wide = one.pivot_table(index="epoch", columns="layer", values="value")
    return float((wide.iloc[-1] - wide.iloc[0]).mean()) if wide.index[0] == 0 and len(wide) > 1 else None


def deep_growth(one: Frame) -> float | None:
    """Returns the accuracy at the last epoch over that at epoch 0, mean over the later half of the layers."""
    wide = one.pivot_table(index="epoch", columns="layer", values="value")
    deep = wide.iloc[:, len(wide.columns) // 2 :]
    if wide.index[0] != 0 or len(wide) < 2 or (deep.iloc[0] == 0).any():
        return None
    return float((deep.iloc[-1] / deep.iloc[0]).mean())


def ahead_of_last(one: Frame) -> float | None:
    """Returns by how much the layer that was best before the last, one checkpoint earlier, is ahead of the last."""
    wide = one[one["epoch"] > 0].pivot_table(index="epoch", columns="layer", values="value")
    if len(wide) < 2 or len(wide.columns) < 2:
        return None
    chosen = wide.iloc[-2, :-1].idxmax()
    return float(wide.iloc[-1][chosen] - wide.iloc[-1].iloc[-1])


def best_layer(one: Frame) -> float | None:
    """Returns where the best layer is: 0 is the first, 1 the last."""
    layers = one["layer"].to_numpy()
    if len(layers) < 2:
        return None
    best = int(layers[one["value"].to_numpy().argmax()])
    return float((best - layers[0]) / (layers[-1] - layers[0]))


def _best(figure: str, level: str) -> Claim:
    return Claim(
        f"best_layer_of_{level}_is_deep", figure, f"The best layer of {level} labels is in the deeper half.",
        "place of the layer with the highest linear test accuracy, 0 the first, 1 the last",
        lambda table: per_trial(_at_end(table, level), best_layer), "above", 0.5,
        (Measured(LINEAR, level, "test", num_layers=3),), within=SHARE,
    )  # fmt: skip


def _rises(table: Frame, level: str) -> Frame:
    return per_trial(_at_end(table, level), lambda one: rank_correlation(one["layer"], one["value"]))


def _deep_superclass(table: Frame) -> Frame:
    of_superclass, of_class = (per_trial(_accuracy(table, level), deep_growth) for level in ("superclass", "class"))
    return minus(of_superclass, of_class)


CLAIMS: Final = (
    Claim(
        "accuracy_rises_with_layer", "5 left", "Linear accuracy of classes rises with the depth of the layer.",
        "rank correlation of layer and linear test accuracy at the last epoch",
        partial(_rises, level="class"), "above", 0.0,
        (Measured(LINEAR, "class", "test", num_layers=3), Layers("class", 3)), within=CORRELATION,
    ),
    Claim(
        "accuracy_rises_with_training", "5 left", "Linear accuracy of classes rises with training.",
        "linear test accuracy, end less initialisation, mean over layers",
        lambda table: per_trial(_accuracy(table, "class"), training_gain), "above", 0.0,
        (Measured(LINEAR, "class", "test", 2, start=True),), within=DIFFERENCE,
    ),
    Claim(
        "last_layer_is_not_best_for_classes", "5 left", "The last layer is not the best for classes.",
        "linear test accuracy of the best layer before the last, less the last",
        lambda table: per_trial(_accuracy(table, "class"), ahead_of_last), "above", 0.0,
        (Measured(LINEAR, "class", "test", 3, num_layers=2),), within=DIFFERENCE,
    ),
    _best("5 left", "class"),
    Claim(
        "superclass_accuracy_rises_with_layer", "5 middle",
        "Linear accuracy of superclasses rises with the depth of the layer.",
        "rank correlation of layer and linear test accuracy at the last epoch",
        partial(_rises, level="superclass"), "above", 0.0,
        (Measured(LINEAR, "superclass", "test", num_layers=3), Layers("superclass", 3)), within=CORRELATION,
    ),
    _best("5 middle", "superclass"),
    Claim(
        "superclass_gains_more_in_deep_layers", "5 right", "Superclasses gain more than classes in deep layers.",
        "linear test accuracy over that at initialisation in the later half of the layers, superclass less class",
        _deep_superclass, "above", 0.0,
        (Measured(LINEAR, "superclass", "test", 2, start=True), Measured(LINEAR, "class", "test", 2, start=True)),
    ),
    _best("5 left", "sample"),
)  # fmt: skip
