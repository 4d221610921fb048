"""Where trials come from: a grid, and an Optuna study that is replayed from the ledger."""

import json
from functools import partial
from pathlib import Path

import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from ray_ssl.config import PretrainConfig, replace
from ray_ssl.errors import UserError
from ray_ssl.ledger import DONE, FAILED, Ledger, TrialState, make_trials
from ray_ssl.search import GridSource, OptunaSource, SearchSpace, number_between, one_of
from ray_ssl.storage import Storage


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Storage.at(tmp_path / "sweep"))


def objective(params: dict[str, object]) -> float:
    return -((float(str(params["optimiser.learning_rate"])) - 0.1) ** 2) - float(str(params["backbone.depth"])) / 100


def space() -> SearchSpace:
    distributions = {
        "optimiser.learning_rate": FloatDistribution(0.01, 1, log=True),
        "backbone.depth": CategoricalDistribution((2, 5)),
    }
    return SearchSpace(partial(replace, PretrainConfig()), distributions, "knn_accuracy")


def drive(source: OptunaSource, ledger: Ledger, stop_after: int = 1000) -> list[dict[str, object]]:
    """Runs trials one by one; a stop leaves the last one unfinished."""
    suggested = []
    while (trial := source.next()) is not None:
        suggested.append(trial.search["params"])
        ledger.write_config(trial)
        if len(suggested) == stop_after:
            break
        metrics = {"epoch": 1.0, "knn_accuracy": objective(trial.search["params"])}
        ledger.end(trial.key, DONE, {"history": [metrics]})
        source.ended(trial.key, metrics)
    return suggested


def test_an_interrupted_optuna_study_suggests_what_an_uninterrupted_one_would(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(Storage.at(tmp_path / "other"))
    whole = drive(OptunaSource(space(), 15, "data", other), other)
    first = drive(OptunaSource(space(), 15, "data", ledger), ledger, stop_after=13)
    rest = drive(OptunaSource(space(), 15, "data", ledger), ledger)
    assert first[:-1] + rest == whole
    assert len({json.dumps(p) for p in whole}) == 15
    finished = OptunaSource(space(), 15, "data", ledger)
    assert finished.num_trials == 0
    best = finished.best()
    assert best is not None
    assert objective(best.search["params"]) == max(objective(p) for p in whole)
    assert OptunaSource(space(), 20, "data", ledger).num_trials == 5


def test_a_failed_suggestion_counts_once_and_can_be_retried(ledger: Ledger) -> None:
    source = OptunaSource(space(), 1, "data", ledger)
    trial = source.next()
    assert trial is not None
    ledger.write_config(trial)
    ledger.end(trial.key, FAILED, {"reason": "x"})
    assert OptunaSource(space(), 1, "data", ledger).num_trials == 0
    again = OptunaSource(space(), 1, "data", ledger, retry_failed=True)
    assert again.next() == trial


def test_what_a_grid_has_trained_is_told_and_not_trained_again(ledger: Ledger) -> None:
    depths = CategoricalDistribution((2, 5))
    discrete = SearchSpace(partial(replace, PretrainConfig()), {"backbone.depth": depths}, "knn_accuracy")
    grid = make_trials([replace(PretrainConfig(), {"backbone.depth": depth}) for depth in (2, 5)], "data")
    for trial in grid:
        ledger.write_config(trial)
        metrics = {"epoch": 1.0, "knn_accuracy": trial.config.to_dict()["backbone"]["depth"] / 10}
        ledger.end(trial.key, DONE, {"history": [metrics]})
    source = OptunaSource(discrete, 9, "data", ledger)
    assert source.num_trials == 9
    assert source.next() is None
    best = source.best()
    assert best is not None and best.search["params"] == {"backbone.depth": 5}
    again = OptunaSource(discrete, 9, "data", ledger)
    assert again.num_trials == 0
    assert again.trials == source.trials
    assert {t.key for t in again.trials} == {t.key for t in grid}
    for trial in grid:
        ledger.write_config(trial)  # the grid once more
    assert OptunaSource(discrete, 9, "data", ledger).num_trials == 0


def test_what_failed_in_a_grid_is_trained_by_a_search_that_retries(ledger: Ledger) -> None:
    only = SearchSpace(partial(replace, PretrainConfig()), {"seed": CategoricalDistribution((0,))}, "knn_accuracy")
    trial = make_trials([PretrainConfig()], "data")[0]
    ledger.write_config(trial)
    ledger.end(trial.key, FAILED, {"reason": "x"})
    again = OptunaSource(only, 1, "data", ledger, retry_failed=True).next()
    assert again is not None and again.key == trial.key
    assert ledger.state(trial.key) is TrialState.NEW
    ledger.end(trial.key, FAILED, {"reason": "x"})
    assert OptunaSource(only, 1, "data", ledger).next() is None


def test_two_suggestions_with_one_configuration_are_trained_once(ledger: Ledger) -> None:
    def coarse(params: dict[str, object]) -> PretrainConfig:
        return replace(PretrainConfig(), {"seed": int(float(str(params["seed"])))})

    coarse_space = SearchSpace(coarse, {"seed": FloatDistribution(0, 2)}, "knn_accuracy")
    source = OptunaSource(coarse_space, 12, "data", ledger)
    seeds = []
    while (trial := source.next()) is not None:
        seeds.append(trial.config.seed)
        ledger.end(trial.key, DONE, {"history": [{"knn_accuracy": 0.5}]})
        source.ended(trial.key, {"knn_accuracy": 0.5})
    assert sorted(seeds) == [0, 1]
    assert OptunaSource(coarse_space, 12, "data", ledger).num_trials == 0
    assert OptunaSource(coarse_space, 13, "data", ledger).num_trials == 1


def test_a_search_over_another_space_learns_from_the_trials_that_are_points_of_it(ledger: Ledger) -> None:
    old = [p["optimiser.learning_rate"] for p in drive(OptunaSource(space(), 8, "data", ledger), ledger)]

    def other(distributions: dict[str, BaseDistribution], num_wanted: int = 8) -> OptunaSource:
        changed = SearchSpace(space().configure, space().distributions | distributions, "knn_accuracy")
        return OptunaSource(changed, num_wanted, "data", ledger)

    narrow = other({"optimiser.learning_rate": FloatDistribution(0.01, 0.1)})
    inside = [rate for rate in old if float(str(rate)) <= 0.1]
    assert 0 < len(inside) < 8
    assert [t.search["params"]["optimiser.learning_rate"] for t in narrow.trials] == inside
    assert (narrow.num_left_out, narrow.num_trials) == (8 - len(inside), 8 - len(inside))
    assert other({"backbone.depth": CategoricalDistribution((2, 5, 7))}).num_trials == 0
    assert other({"backbone.depth": CategoricalDistribution((3,))}).num_left_out == 8
    # One more option is varied: the trials have a value of it, 0.9.
    momentum = other({"optimiser.momentum": FloatDistribution(0.5, 0.95)}, 10)
    assert (momentum.num_left_out, momentum.num_trials) == (0, 2)
    assert {t.search["params"]["optimiser.momentum"] for t in momentum.trials} == {0.9}
    new = drive(momentum, ledger)
    assert len(new) == 2
    # It is not varied any more: what had another value is no point.
    back = OptunaSource(space(), 8, "data", ledger)
    assert (back.num_left_out, back.num_trials) == (2, 0)
    assert [t.search["number"] for t in back.trials] == list(range(8))


def test_an_invalid_suggestion_is_replaced(ledger: Ledger) -> None:
    base = replace(PretrainConfig(), {"num_workers": 2, "training.global_batch_size": 32})
    sizes = {"training.global_batch_size": number_between(32, 40)}
    source = OptunaSource(SearchSpace(partial(replace, base), sizes, "knn_accuracy"), 5, "data", ledger)
    for trial in iter(source.next, None):
        assert trial.config.training.global_batch_size % 2 == 0
    odd = {"training.global_batch_size": one_of((33, 35))}
    with pytest.raises(UserError, match=r"no valid configuration in 100 suggestions.*cannot be split evenly"):
        OptunaSource(SearchSpace(partial(replace, base), odd, "knn_accuracy"), 9, "data", ledger).next()


def test_numbers_are_whole_where_both_ends_are_and_on_a_log_scale_from_a_factor_of_ten() -> None:
    assert number_between(64, 128) == IntDistribution(64, 128)
    assert number_between(64, 640) == IntDistribution(64, 640, log=True)
    assert number_between(0.0, 1.0) == FloatDistribution(0, 1)
    assert number_between(0.01, 1.0) == FloatDistribution(0.01, 1, log=True)


def test_a_grid_gives_what_is_to_run_once() -> None:
    trials = make_trials([replace(PretrainConfig(), {"seed": s}) for s in range(3)], "data")
    source = GridSource(trials, trials[1:])
    assert source.num_trials == 2
    assert [source.next(), source.next(), source.next()] == [*trials[1:], None]
