"""What a scheduler may stop, and how a trial that it stopped is recorded."""

from types import SimpleNamespace

import pytest

from ray_ssl.config import PretrainConfig, replace
from ray_ssl.launch import make_asha


def stopped_at(epochs: int, num_trials: int, of_each: int | None = None) -> list[int | None]:
    """The epoch at which each of ever weaker trials is stopped, one after the other; None: it came to its end."""
    scheduler = make_asha("knn_accuracy", epochs)
    config = replace(PretrainConfig(), {"training.epochs": of_each or epochs}).to_json()
    found: list[int | None] = []
    for number in range(num_trials):
        trial = SimpleNamespace(trial_id=str(number), config={"config": config})
        scheduler.on_trial_add(None, trial)
        results = ({"epoch": float(epoch), "knn_accuracy": -number} for epoch in range(1, (of_each or epochs) + 1))
        stops = (r["epoch"] for r in results if scheduler.on_trial_result(None, trial, r) == scheduler.STOP)
        found.append(next(stops, None))
    return found


@pytest.mark.parametrize(("epochs", "first_rung"), [(2, 1), (4, 1), (8, 1), (16, 2), (100, 12)])
def test_asha_stops_the_weaker_trial_at_its_first_rung(epochs: int, first_rung: int) -> None:
    assert stopped_at(epochs, 2) == [None, first_rung]


def test_a_trial_at_its_last_epoch_is_not_stopped() -> None:
    assert stopped_at(1, 3) == [None] * 3  # the first rung is the last epoch
    assert stopped_at(8, 1, of_each=9) == [None]  # trials may differ in their epochs
