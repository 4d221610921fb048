"""What the records of sweeps say beside their tables."""

from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.survey import mixed_trainings, trained_epochs
from ray_ssl.checkpoints import Checkpoint
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.finetune import write_start
from ray_ssl.ledger import DONE, STOPPED, Ledger, make_trials
from ray_ssl.storage import Storage


def sweep(folder: Path, *changes: dict[str, Any]) -> Ledger:
    ledger = Ledger(Storage.at(folder))
    base = replace(PretrainConfig(), {"training.epochs": 5})
    for trial in make_trials([replace(base, change) for change in changes], "data"):
        ledger.write_config(trial)
    return ledger


def test_networks_that_sweeps_trained_differently_are_named(tmp_path: Path) -> None:
    rate = "optimiser.learning_rate"
    first = sweep(tmp_path / "a", {rate: 0.1}, {rate: 0.2})
    seeds = sweep(tmp_path / "b", {rate: 0.1, "seed": 1}, {rate: 0.2, "seed": 1})
    other = sweep(tmp_path / "c", {rate: 0.1, "training.epochs": 7, "seed": 2})
    deeper = sweep(tmp_path / "d", {"backbone.depth": 2})
    assert mixed_trainings([other]) == mixed_trainings([first, seeds]) == mixed_trainings([first, seeds, deeper]) == []
    wanted = "vicreg 5-64 of a, c differs in more than the seed: optimiser.learning_rate 0.1, 0.2 or 0.1; "
    assert mixed_trainings([first, other]) == [wanted + "training.epochs 5 or 7"]


def test_encoders_of_one_name_that_are_different_networks_are_named(tmp_path: Path) -> None:
    ledgers = []
    for name, change in (("a", {}), ("b", {"data.num_images": 500, "seed": 1}), ("c", {"seed": 2})):
        config = replace(PretrainConfig(), change)
        card = {"config": config.to_dict(), "epoch": 4, "normalisation": {"mean": [0.5] * 3, "std": [0.2] * 3}}
        ledgers.append(sweep(tmp_path / name, {"seed": len(ledgers)}))
        write_start(ledgers[-1].sweep, Checkpoint(card, {"backbone.weight": torch.full((2,), float(len(ledgers)))}))
    first, other, same = ledgers
    assert mixed_trainings([first, same]) == mixed_trainings([other]) == []
    (line,) = mixed_trainings([first, other])
    assert line.startswith("encoder vicreg-5-64, fine-tuned in trials of a, b differs in more than the seed: data.num_")
    assert line.endswith("data.num_images None or 500")


@pytest.mark.parametrize(("ending", "epochs"), [(DONE, [0, 2, 5]), (STOPPED, [0, 2])])
def test_stored_checkpoints_of_a_trial_and_the_end_of_its_training(
    tmp_path: Path, ending: Any, epochs: list[int]
) -> None:
    ledger = sweep(tmp_path, {})
    (trial,) = ledger.known_trials()
    for epoch in (0, 2):
        ledger.trial(trial.key).write(f"checkpoints/epoch-{epoch:06d}/manifest.json", b"")
    assert trained_epochs(ledger) == {}
    ledger.end(trial.key, ending, {"history": []})
    assert trained_epochs(ledger) == {trial.key: epochs}
