"""Targets of graded randomness: a teacher's predictions, noise, how they are kept, and how trials learn from them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace as change
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analysis.__main__ import main as analyse
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig, replace, trial_key
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.errors import UserError
from ray_ssl.ledger import DONE, Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.targets import (
    Targets,
    attach_targets,
    labels_hash,
    labels_to_learn,
    read_targets,
    whole_targets,
    write_targets,
)
from ray_ssl.teacher_targets import describe_labels, make_targets, nearest_epoch, noisy_labels, randomness_by_epoch
from ray_ssl.trainer import Trainer, build_trial_method

CONFIG = PretrainConfig.from_dict(
    {
        "data": {"dataset": "shapes", "num_images": 200, "num_test_images": 60},
        "backbone": {"name": "res_lh", "depth": 1, "width": 6},
        "method": {"name": "supervised", "augment": False},
        "training": {"epochs": 6, "global_batch_size": 20, "precision": "fp32", "num_checkpoints": 16},
    }
)
LEVELS = (0.0, 0.5, 1.0)

Made = tuple[Ledger, Trial, Dataset, Targets]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    dataset = load_dataset(CONFIG.data)
    ledger = Ledger(Storage.at(tmp_path_factory.mktemp("teacher")))
    trial = make_trials([CONFIG], dataset.fingerprint)[0]
    pretrain(trial.config, dataset, ledger.trial(trial.key), lambda metrics: None)
    ledger.end(trial.key, DONE, {"history": []})
    return ledger, trial, dataset, make_targets(ledger, trial, dataset, LEVELS, None)


def naive_labels(made: Made, epoch: int, split: str) -> list[int]:
    """The teacher's predictions, image by image."""
    ledger, trial, dataset, _ = made
    network: Any = build_trial_method(trial.config, dataset)
    network.load_state_dict(load_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch)).model)
    network.eval()
    mean, std = (torch.tensor(values)[:, None, None] for values in dataset.channel_statistics)
    labels = []
    with torch.no_grad():
        for image in getattr(dataset, split).images:
            pixels = (torch.tensor(image).permute(2, 0, 1).float() / 255 - mean) / std
            labels.append(int(network.head(network.backbone(pixels[None]))[0].argmax()))
    return labels


def test_labels_are_the_teachers_predictions(made: Made) -> None:
    for name in ("teacher-0.00", "teacher-0.50", "teacher-1.00"):
        one = made[3].sets[name]
        for split in ("train", "test"):
            labels = one.labels[split]
            assert labels.dtype == np.int64
            agree = np.mean(labels == np.array(naive_labels(made, one.epoch, split)))
            assert agree > 0.98, "all but ties that rounding decides"


def test_randomness_is_one_at_initialisation_and_zero_at_the_end(made: Made) -> None:
    _, _, dataset, targets = made
    first, last = targets.sets["teacher-1.00"], targets.sets["teacher-0.00"]
    assert (first.epoch, first.randomness, last.epoch, last.randomness) == (0, 1.0, 6, 0.0)
    middle = targets.sets["teacher-0.50"]
    right = [one.facts["train"].agreement for one in (first, middle, last)]
    assert right == [(one.labels["train"] == dataset.train.fine).mean() for one in (first, middle, last)]
    assert middle.randomness == pytest.approx((right[2] - right[1]) / (right[2] - right[0]))
    others = {}
    for epoch in range(7):
        share = np.mean(np.array(naive_labels(made, epoch, "train")) == dataset.train.fine)
        others[epoch] = abs((right[2] - share) / (right[2] - right[0]) - 0.5)
    assert others[middle.epoch] <= min(others.values()) + 0.02


def test_randomness_between_the_ends_is_what_is_left_to_learn() -> None:
    found = randomness_by_epoch({0: 0.1, 1: 0.3, 4: 0.95, 9: 0.05, 20: 0.9})
    assert found == pytest.approx({0: 1.0, 1: 0.75, 4: 0.0, 9: 1.0, 20: 0.0})
    assert [nearest_epoch(found, level) for level in (0.0, 0.7, 0.3, 1.0)] == [20, 1, 20, 0]
    with pytest.raises(UserError, match=r"learned nothing: it predicts 10\.0% .* more --teacher-epochs"):
        randomness_by_epoch({0: 0.1, 5: 0.1})


def test_noise_replaces_the_share_it_says() -> None:
    truth = np.random.default_rng(0).integers(0, 10, 20_000)
    before = np.zeros(len(truth), bool)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        noisy = noisy_labels(truth, 10, share, 3, "train")
        changed = noisy != truth
        assert changed.mean() == pytest.approx(0.9 * share, abs=0.01)  # a tenth of the random ones are right
        assert (changed | ~before).all(), "what was noisy stays noisy"
        assert np.bincount(noisy[changed], minlength=10).min() >= 0.08 * changed.sum()
        before = changed
    assert (noisy_labels(truth, 10, 0.5, 3, "train") == noisy_labels(truth, 10, 0.5, 3, "train")).all()
    for other in ((4, "train"), (3, "test")):
        assert (noisy_labels(truth, 10, 1.0, *other) != noisy_labels(truth, 10, 1.0, 3, "train")).any()


def test_noise_stands_beside_the_teacher(made: Made) -> None:
    _, _, dataset, targets = made
    assert set(targets.sets) == {f"{kind}-{level:.2f}" for kind in ("teacher", "noise") for level in LEVELS}
    truth, noise = targets.sets["noise-0.00"], targets.sets["noise-1.00"]
    assert (truth.labels["test"] == dataset.test.fine).all() and truth.facts["test"].agreement == 1
    assert noise.randomness == 1 and noise.facts["train"].agreement < 0.15


def test_facts_have_closed_forms() -> None:
    labels = np.repeat(np.arange(4), 25)
    assert describe_labels(labels, labels) == pytest.approx((1, np.log(4), 4, 0.25))
    one = describe_labels(np.full(100, 7), np.zeros(100, np.int64))
    assert one == (0.0, 0.0, 1, 1.0)


def test_what_was_made_before_is_kept(made: Made, tmp_path: Path) -> None:
    ledger, trial, dataset, targets = made
    wider = make_targets(ledger, trial, dataset, (0.25, 1.0), targets)
    assert set(wider.sets) == {*targets.sets, "teacher-0.25", "noise-0.25"}
    assert all(wider.sets[name] is one for name, one in targets.sets.items())
    nobody = Ledger(Storage.at(tmp_path))
    assert make_targets(nobody, trial, dataset, LEVELS, targets).hash == targets.hash
    with pytest.raises(UserError, match="there is no trained teacher in"):
        make_targets(nobody, trial, dataset, LEVELS, None)


def test_they_are_kept_whole_or_count_as_missing(made: Made, tmp_path: Path) -> None:
    _, _, dataset, targets = made
    sweep = Storage.at(tmp_path)
    assert read_targets(sweep) is None
    write_targets(sweep, targets)
    back = read_targets(sweep)
    assert back is not None and back.hash == targets.hash
    for name, one in targets.sets.items():
        assert (back.sets[name].randomness, back.sets[name].facts) == (one.randomness, one.facts)
        assert (back.sets[name].labels["test"] == one.labels["test"]).all()
    images = attach_targets(dataset, back)
    assert (images.train.targets["teacher-0.50"] == targets.sets["teacher-0.50"].labels["train"]).all()
    assert images.target_randomness["teacher-1.00"] == 1 and images.fingerprint == dataset.fingerprint
    other = change(dataset, test=dataset.test.take(np.arange(10)))
    with pytest.raises(UserError, match="labels of other images than shapes"):
        attach_targets(other, back)
    path = tmp_path / "targets.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    assert read_targets(sweep) is None


def test_altered_ones_are_said_and_made_anew(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, trial, dataset, targets = made
    sweeps = [Ledger(Storage.at(tmp_path / name)) for name in ("own", "copy")]
    for sweep in sweeps:
        sweep.write_config(make_trials([CONFIG], dataset.fingerprint)[0])
    own, copy = (sweep.sweep for sweep in sweeps)
    tracking = ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    for name in ("targets.json", "targets.safetensors"):
        write_targets(own, targets)
        path = tmp_path / "own" / name
        path.write_bytes(path.read_bytes()[:-1] + b"\1")
        for command in (
            [own.uri], [own.uri, "--levels", "targets"], [copy.uri, "--targets", own.uri],
            ["encoder", "weights.pt", "--dataset", "shapes", "--backbone", "res_lh", "--storage", own.uri],
        ):  # fmt: skip
            assert analyse([*command, *(tracking if command[0] != "encoder" else [])]) == 2
            said = capsys.readouterr().err
            assert said.startswith(f"error: {own.address(name)} is torn or altered: the sweep's command"), said
            assert said.count("\n") == 1
    assert read_targets(own) is None and whole_targets(copy) is None
    assert make_targets(ledger, trial, dataset, LEVELS, read_targets(own)).hash == targets.hash
    write_targets(copy, targets)
    assert analyse([own.uri, "--targets", copy.uri, *tracking]) == 2  # there is no checkpoint
    restored = whole_targets(own)
    assert restored is not None and restored.hash == targets.hash


def test_a_trial_learns_the_target_it_names(made: Made) -> None:
    _, _, dataset, targets = made
    images = attach_targets(dataset, targets)
    config = replace(CONFIG, {"method.target": targets.option("teacher-1.00")})
    assert config.trained_on == "teacher-1.00"
    trainer = Trainer(config, images, torch.device("cpu"))
    assert (trainer.labels.numpy() == images.train.targets["teacher-1.00"]).all()
    coarse, num_superclasses = labels_to_learn(replace(CONFIG, {"method.target": "superclass"}), dataset)
    assert dataset.train.coarse is not None and (coarse == dataset.train.coarse).all()
    network: Any = build_trial_method(replace(CONFIG, {"method.target": "superclass"}), dataset)
    assert network.head.out_features == num_superclasses == len(dataset.train.coarse_names)
    with pytest.raises(UserError, match=r"no target teacher-1.00@\w{16}: sweeps/randomness.py makes targets"):
        labels_to_learn(config, dataset)
    moved = dict(images.train.targets) | {"teacher-1.00": images.train.fine}
    with pytest.raises(UserError, match=r"no target teacher-1.00@\w{16}: there are .*teacher-1.00@"):
        labels_to_learn(config, change(images, train=change(images.train, targets=moved)))
    for wrong in ("teacher-0.25", "clas", "x@12"):
        with pytest.raises(UserError, match="target"):
            replace(CONFIG, {"method.target": wrong})


def test_keys_change_with_the_labels_and_with_nothing_else(made: Made) -> None:
    _, _, _, targets = made
    on = {name: replace(CONFIG, {"method.target": targets.option(name)}) for name in targets.sets}
    assert len({trial_key(config, "x") for config in (CONFIG, *on.values())}) == 1 + len(on)
    assert labels_hash(np.arange(3)) != labels_hash(np.arange(3)[::-1])
    # As it was before there were targets: what was trained then is found again.
    values = CONFIG.to_dict()
    values["data"] = {"fingerprint": "x"}
    for option in ("target", "start", "head", "batch_norm"):
        del values["method"][option]
    del values["training"]["train_domains"]
    assert "target" not in json.dumps(values)
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    assert trial_key(CONFIG, "x") == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert "target" not in PretrainConfig().to_json()
    name = Trial("", on["teacher-0.50"]).name
    assert name == "supervised 1-6 seed 0 on teacher-0.50 (no augmentation)"
