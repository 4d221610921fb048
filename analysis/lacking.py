"""What a table lacks first of what a figure or a claim looks for; trials of the sweep may still be on their way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from analysis.measuring import OF_A_SHIFT, SHIFTED, measuring_command
from analysis.needs import TRAIN_ONE, Adapted, Frame, Lacking, Measured, Need, Trials

_THAT_SWEEP: Final = "THAT_SWEEP"


class Unmeasured(NamedTuple):
    """A trial that a sweep has and its table does not.

    Attributes:
        method: As the table would name it.
        trained: It is trained no further, so it can be measured.
    """

    method: str
    trained: bool


def first_lacking(
    needs: Iterable[Need], table: Frame, sweep: str, unmeasured: Collection[Unmeasured] = ()
) -> Lacking | None:
    """Returns what is lacking of the first need that is not met; None where all are.

    Args:
        table: See `analysis.table`.
        sweep: As `Need.lacking`.
        unmeasured: Trials of that sweep that are not in the table; where these are what a need asks for, it is said.
    """
    for need in needs:
        if (found := need.lacking(table, sweep)) is not None:
            waiting = [one for one in unmeasured if isinstance(need, Trials | Adapted) and need.takes(one.method)]
            return _waiting(found, waiting, sweep) if waiting else found
    return None


def lacking_learners(
    needs: Sequence[Need], table: Frame, sweep: str, unmeasured: Collection[Unmeasured] = ()
) -> Lacking | None:
    """As `first_lacking` of self-supervised trials: where these are still to be trained, with what then measures what
    is needed of them and a sweep does not measure of itself.

    Args:
        needs: Of the claim.
        table: See `first_lacking`.
        sweep: See `first_lacking`.
        unmeasured: See `first_lacking`.
    """
    found = first_lacking((Trials("self-supervised"),), table, sweep, unmeasured)
    if found is None or found.way != TRAIN_ONE:
        return found
    commands = [measuring_command(need.metric, need.level, _THAT_SWEEP) for need in needs if isinstance(need, Measured)]
    more = [one for one in dict.fromkeys(commands) if one != f"python -m analysis {_THAT_SWEEP}"]
    plain = [one.removesuffix(SHIFTED).removesuffix(OF_A_SHIFT) for one in more]
    train = TRAIN_ONE + " --shift SHIFT" * (plain != more)
    return found._replace(way=", then ".join(filter(None, (train, " && ".join(plain)))))


def _waiting(lacking: Lacking, trials: Collection[Unmeasured], sweep: str) -> Lacking:
    """Of trials that are lacking, but in the sweep."""
    if any(one.trained for one in trials):
        num, state, way = sum(one.trained for one in trials), "measured", f"python -m analysis {sweep}"
    else:
        num, state, way = len(trials), "trained", "the sweep's command again"
    return Lacking(f"{lacking.what}: the sweep has {num}, not {state} yet", way)
