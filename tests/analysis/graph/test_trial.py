"""A training on an exact graph as a trial: killed or moved it ends as if nothing had happened; its record, its end."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis.graph.contrastive import Learned, Learner, marks
from analysis.graph.recorded import training_of
from analysis.graph.trial import GraphData, train_on_graph
from analysis.table import MEASUREMENTS, read_table
from ray_ssl.checkpoints import load_newest_state, save_state
from ray_ssl.graph_config import KINDS, GraphConfig
from ray_ssl.ledger import GraphTrial, Ledger, TrialState
from ray_ssl.pretrain import PreemptedError
from ray_ssl.storage import Storage
from ray_ssl.sweep.overview import progress
from ray_ssl.trainer import EpochMetrics, NonFiniteLossError
from sweeps.graph_run import Plan
from tests.analysis.graph.trained import IMAGES, lend, plan_of

STEPS = 12
FLAGS = (*IMAGES, "--resolution", "2", "--k", "4", "--sizes", "4", "--steps", str(STEPS), "--seeds", "0")


class Killed(Exception):
    """As if the process had died."""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(*FLAGS)


def rows_of(ledger: Ledger) -> pd.DataFrame:
    table = read_table(ledger.sweep.filesystem, ledger.sweep.path(MEASUREMENTS)).drop(columns="sweep")
    return table.sort_values(["trial_key", "epoch", "level", "split", "metric"], ignore_index=True)


def history(found: dict) -> list[EpochMetrics]:
    return [{name: value for name, value in one.items() if name != "time"} for one in found["history"]]


def test_killed_or_moved_it_ends_as_if_nothing_had_happened(plan: Plan, tmp_path: Path) -> None:
    data = GraphData(plan.study, plan.settings)
    assert [trial.config.kind for trial in plan.trials] == list(KINDS)
    whole, cut = Ledger(Storage.at(tmp_path / "whole")), Ledger(Storage.at(tmp_path / "cut"))
    for trial in plan.trials:
        expected = train_on_graph(trial.config, data, whole.trial(trial.key), lend(whole))
        assert [one["epoch"] for one in expected["history"]] == marks(STEPS)
        folder = cut.trial(trial.key)

        def die_at_a_mark(metrics: EpochMetrics) -> None:
            if metrics["epoch"] == 4:
                raise Killed

        with pytest.raises(Killed):
            train_on_graph(trial.config, data, folder, lend(cut, die_at_a_mark, state_seconds=0))
        moves = iter([False, False, True])
        told: list[EpochMetrics] = []
        with pytest.raises(PreemptedError):  # within marks: its state is saved whatever the time
            train_on_graph(trial.config, data, folder, lend(cut, told.append, 1000, moves.__next__))
        assert [one["epoch"] for one in told] == [0, 1, 2, 3, 4, 6]  # of which the first were told again
        found = train_on_graph(trial.config, data, folder, lend(cut))
        assert history(found) == history(expected)
        assert history({"history": told}) == history(expected)[:6]
    pd.testing.assert_frame_equal(rows_of(cut), rows_of(whole))


def test_it_goes_on_from_its_first_step(plan: Plan, tmp_path: Path) -> None:
    ledger, trial = Ledger(Storage.at(tmp_path)), plan.trials[0]
    ledger.write_config(trial)
    moves = iter([False, False, True])
    with pytest.raises(PreemptedError):
        train_on_graph(
            trial.config, GraphData(plan.study, plan.settings), ledger.trial(trial.key),
            lend(ledger, state_seconds=1000, preempted=moves.__next__),
        )  # fmt: skip
    state = TrialState.RESUMABLE
    assert ledger.state(trial.key) is state and progress(ledger, trial, state) == f"2 of {STEPS}"
    ledger.trial(trial.key).delete_folder("state/step-0000000002")
    assert progress(ledger, trial, state) == f"0 of {STEPS}"


def test_a_state_is_of_the_whole_learner(plan: Plan, tmp_path: Path) -> None:
    for trial in plan.trials:
        training, folder = training_of(trial.config), Storage.at(tmp_path / trial.key)
        learner, other = (Learner(plan.study.graph, plan.study.found.levels, training) for _ in range(2))
        for _ in range(5):
            learner.advance()
        save_state(folder, learner.step, learner.state([]))
        state = load_newest_state(folder, pytest.fail)
        assert state is not None
        other.restore(state)
        for _ in range(3):
            learner.advance()
            other.advance()
        assert other.step == learner.step == 8
        assert (other.look().features == learner.look().features).all()


def test_one_that_diverges_says_so(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look = Learner.look

    def infinite(learner: Learner) -> Learned:
        return look(learner)._replace(loss=float("inf" if learner.step == 2 else "1"))

    monkeypatch.setattr(Learner, "look", infinite)
    ledger, trial = Ledger(Storage.at(tmp_path)), plan.trials[0]
    data = GraphData(plan.study, plan.settings)
    with pytest.raises(NonFiniteLossError, match="the loss became inf by step 2"):
        train_on_graph(trial.config, data, ledger.trial(trial.key), lend(ledger))
    assert set(rows_of(ledger)["epoch"]) == {0, 1}


def test_its_record_is_read_as_what_it_is(plan: Plan, tmp_path: Path) -> None:
    ledger, trial = Ledger(Storage.at(tmp_path)), plan.trials[1]
    ledger.write_config(trial)
    assert ledger.all_trials() == [trial] and ledger.known_trials() == []
    assert isinstance(ledger.all_trials()[0], GraphTrial)
    assert GraphConfig.from_json(trial.config.to_json()) == trial.config
    assert trial.name == "spectral network k 4 seed 0" and trial.config.num_epochs == STEPS
