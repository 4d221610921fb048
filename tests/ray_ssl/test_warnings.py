"""What a trial has to tell reaches the user as one line that names it, though its process prints nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

from ray_ssl.config import PretrainConfig
from ray_ssl.follower import Follower
from ray_ssl.launch import make_bridge
from ray_ssl.ledger import Ledger, Trial, TrialState, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.progress import Board
from ray_ssl.search import GridSource
from ray_ssl.storage import Storage
from ray_ssl.trial import METRICS, Job, train_and_record
from tests.ray_ssl.test_export import DATASET

CONFIG = PretrainConfig.from_dict(
    {
        "data": {"image_size": 16},
        "backbone": {"name": "res_lh", "depth": 1, "width": 4},
        "method": {"name": "simclr", "projector_width": 8, "embedding_dim": 8},
        "training": {"epochs": 3, "global_batch_size": 8, "precision": "fp32"},
    }
)


class KilledError(Exception):
    pass


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Storage.at(tmp_path))


@pytest.fixture
def trial(ledger: Ledger) -> Trial:
    trial = make_trials([CONFIG], DATASET.fingerprint)[0]
    ledger.write_config(trial)
    return trial


def lines(ledger: Ledger, trial: Trial, reports: list[Any], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The warnings that the driver prints of what a trial reports through Tune."""
    follower = Follower(MagicMock(), ledger)
    bridge = make_bridge(GridSource([trial], [trial]), ledger, follower)
    with Board(1, ledger) as follower.board:
        bridge.searcher.suggest("x")
        tune_trial: Any = SimpleNamespace(config={"key": trial.key}, run_metadata=SimpleNamespace(num_failures=0))
        bridge.callback.on_trial_start(0, [], tune_trial)
        for report in [*reports, reports[-1]]:  # Tune repeats the last one
            bridge.callback.on_trial_result(0, [], tune_trial, {METRICS: report})
    return [line.partition("warning: ")[2] for line in capsys.readouterr().out.splitlines() if "warning: " in line]


def test_a_damaged_state(
    ledger: Ledger, trial: Trial, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def killed_after_two(metrics: dict[str, float]) -> None:
        if metrics["epoch"] == 2:
            raise KilledError

    with pytest.raises(KilledError):
        pretrain(CONFIG, DATASET, ledger.trial(trial.key), killed_after_two, state_seconds=0)
    name = ledger.trial(trial.key).names("state")[-1]
    ledger.trial(trial.key).write(f"state/{name}/model.safetensors", b"torn")
    monkeypatch.setattr("ray.get", lambda reference: reference)
    reports: list[Any] = []
    train_and_record(trial.key, CONFIG, Job(ledger.sweep, DATASET, 1, 0, 0), torch.device("cpu"), reports.append)
    assert ledger.state(trial.key) is TrialState.DONE
    assert [report["epoch"] for report in reports[1:]] == [1, 2, 3]
    (said,) = lines(ledger, trial, reports[:1], capsys)
    assert said.startswith(f"{trial.name} ({trial.key}): state/{name}/model.safetensors is torn or altered: set aside")
    assert said.endswith("the trial goes on from the state before it")


def test_collapse(ledger: Ledger, trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    healths = [(0.9, 5.0), (0.01, 1.0), (0.9, 5.0), (0.9, 1.2), (0.05, 5.0), (0.01, 1.0)]  # std, effective rank
    reports = [
        {"epoch": float(e), "time": 0.0, "loss": 1.0, "embedding_std": std, "embedding_rank": rank}
        for e, (std, rank) in enumerate(healths, 1)
    ]
    (said,) = lines(ledger, trial, reports, capsys)
    assert said.startswith(f"{trial.name} ({trial.key}): the embeddings are collapsing at epoch 5: std 0.05 ")
