"""How long a sweep still takes: nothing is said without evidence, and what is said follows from it."""

from pathlib import Path

import pytest

from ray_ssl import progress
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.pace import Pace, finish_time, size_of
from ray_ssl.progress import Board
from ray_ssl.storage import Storage

BASE = PretrainConfig.from_dict({"training": {"epochs": 10}})


def of_width(width: int, seed: int = 0) -> PretrainConfig:
    return replace(BASE, {"backbone.width": width, "seed": seed})


def width_of(config: PretrainConfig) -> float:
    return float(config.backbone.width)  # type: ignore[attr-defined]


def test_seeds_lengths_and_rates_share_a_size_and_widths_do_not() -> None:
    same = {"seed": 3, "training.epochs": 4, "training.num_checkpoints": 3, "optimiser.learning_rate": 0.5}
    for path, value in same.items():
        assert size_of(replace(BASE, {path: value})) == size_of(BASE)
    for path, value in {"backbone.width": 8, "training.global_batch_size": 64, "optimiser.optimiser": "lars"}.items():
        assert size_of(replace(BASE, {path: value})) != size_of(BASE)


def test_nothing_is_said_without_evidence() -> None:
    pace = Pace(width_of)
    assert pace.seconds(BASE) is None
    pace.first_epoch(of_width(8), {"epoch_seconds": 3.0})
    assert pace.seconds(of_width(8, seed=1)) == 3.0
    assert pace.seconds(of_width(9)) is None  # one size makes no line
    assert Pace().seconds(BASE) is None


def test_whole_epochs_replace_the_first_one() -> None:
    pace = Pace()
    pace.first_epoch(BASE, {"epoch_seconds": 3.0})
    for seconds in (5.0, 6.0, 7.0):
        pace.epoch(BASE, seconds)
    assert pace.seconds(BASE) == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({8: 3.0, 16: 5.0}, 9.0),  # 1 + width / 4
        ({8: 0.0001, 16: 2.0}, 4.0 * (16 * 2.0 + 8 * 0.0001) / (8**2 + 16**2) * 8),  # through 0: least squares
        ({8: 5.0, 16: 3.0}, 4.0),  # what is larger cannot be faster: the mean
    ],
)
def test_an_unmeasured_size_lies_on_a_line_through_the_measured_ones(known: dict[int, float], expected: float) -> None:
    pace = Pace(width_of)
    for width, seconds in known.items():
        pace.epoch(of_width(width), seconds)
    assert pace.seconds(of_width(32)) == pytest.approx(expected)
    new = replace(of_width(8), {"method.variance_weight": 3.0})  # another method option, the same arithmetic
    assert pace.seconds(new) == pytest.approx(known[8])


@pytest.mark.parametrize(
    ("running", "waiting", "slots", "expected"),
    [
        ([5.0], [], 1, 5.0),
        ([5.0, 3.0], [4.0], 2, 7.0),
        ([5.0, 3.0], [4.0, 4.0, 1.0], 2, 9.0),
        ([2.0], [6.0], 3, 6.0),
        ([1.0], [1.0] * 9, 1, 10.0),
        ([1.0], [1.0] * 9, 5, 2.0),
    ],
)
def test_trials_side_by_side_end_when_the_last_one_does(
    running: list[float], waiting: list[float], slots: int, expected: float
) -> None:
    assert finish_time(running, waiting, slots) == expected


class Clock:
    """A time that passes when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    monotonic = time

    def strftime(self, form: str) -> str:
        return "00:00:00"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def epoch(board: Board, trial: Trial, clock: Clock, number: int, seconds: float) -> None:
    clock.now += seconds
    metrics = {"epoch": float(number), "loss": 1.0, "epoch_seconds": seconds, "time": clock.now}
    board.epoch(trial, metrics)


def test_the_eta_of_a_sweep(tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    trials = make_trials([of_width(w, s) for w in (8, 16) for s in (0, 1)], "data")
    board = Board(len(trials), Ledger(Storage.at(tmp_path)), trials, num_slots=1, cost=width_of)
    small, wide = trials[0], trials[2]
    board.started(small)
    assert board.sweep_eta() is None
    clock.now += 60  # processes start
    epoch(board, small, clock, 1, 2.0)
    assert "epoch 1/10, loss 1, ETA 18 s; 0/4 trials, sweep ETA ?" in capsys.readouterr().out
    for number in range(2, 11):
        epoch(board, small, clock, number, 2.0)
    board.ended(small)
    board.started(trials[1])
    assert board.sweep_eta() is None  # nothing speaks for the wide ones
    for number in range(1, 11):
        epoch(board, trials[1], clock, number, 2.0)
    board.ended(trials[1])
    board.started(wide)
    assert board.sweep_eta() is None
    epoch(board, wide, clock, 1, 5.0)
    assert board.sweep_eta() == pytest.approx(9 * 5 + 10 * 5)
    clock.now += 3
    assert board.sweep_eta() == pytest.approx(9 * 5 + 10 * 5 - 3)
    for number in range(2, 11):
        epoch(board, wide, clock, number, 5.0)
    board.ended(wide)
    board.started(trials[3])
    assert board.sweep_eta() == pytest.approx(10 * (8 + 8 * 5) / 9)  # its like was measured


def test_epochs_told_again_after_an_interruption_are_no_evidence(tmp_path: Path, clock: Clock) -> None:
    trial = make_trials([BASE], "data")[0]
    board = Board(1, Ledger(Storage.at(tmp_path)), [trial])
    board.started(trial)
    for number in range(1, 6):
        board.epoch(trial, {"epoch": float(number), "loss": 1.0, "epoch_seconds": 0.1, "time": 10.0 * number})
    assert board.sweep_eta() is None
    epoch(board, trial, clock, 6, 7.0)
    assert board.sweep_eta() == pytest.approx(4 * 7)


def test_suggestions_that_are_not_known_yet_are_like_the_others(tmp_path: Path, clock: Clock) -> None:
    trial = make_trials([BASE], "data")[0]
    board = Board(5, Ledger(Storage.at(tmp_path)), num_slots=2)
    board.started(trial)
    epoch(board, trial, clock, 1, 1.0)
    assert board.sweep_eta() == pytest.approx(29.0)  # 9 + 10 + 10 s beside 10 + 10 s
