"""Fine-tuning from a start: probe, fresh head, frozen BatchNorm; what is measured of it; interrupted or not."""

from __future__ import annotations

from dataclasses import replace as change
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from analysis.features import Pictures, extract, load_backbone
from analysis.finetuned import (
    TARGET,
    TEST,
    VALIDATION,
    feature_distances,
    features_of,
    head_accuracy,
    measured_sets,
    spread,
)
from analysis.finetuned_choice import is_fine_tuned
from analysis.finetuned_outcomes import Case as OutcomeCase
from analysis.finetuned_outcomes import Chosen, choose, lines
from analysis.finetuning_stage import lacking_epochs, measure_trial
from analysis.images import measured_images
from analysis.labels import data_levels
from analysis.measurable import not_measured, unmeasurable
from analysis.measure import measure_backbone
from analysis.probe_path import Probe, probe_path
from analysis.settings import AnalysisSettings
from analysis.table import read_table
from ray_ssl.backbones.base import build_backbone
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data.base import UNLABELLED, Dataset, ImageSet
from ray_ssl.data.load import hold_out
from ray_ssl.errors import UserError
from ray_ssl.finetune import HEAD, make_start, read_starts, start_hash, start_of, start_option, write_start
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from sweeps.starts import same_names
from tests.ray_ssl.test_pretrain import KillAfter, Killed, images, untimed

CPU = torch.device("cpu")
PRETRAINING = PretrainConfig.from_dict(
    {
        "backbone": {"name": "res_lh", "depth": 1, "width": 8},
        "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
        "training": {"epochs": 1, "global_batch_size": 32, "num_checkpoints": 2, "precision": "fp32"},
    }
)
FINETUNING = replace(
    PRETRAINING,
    {
        "method": {"name": "supervised"},
        "optimiser.weight_decay": 0.0,
        "training.epochs": 3,
        "training.warmup_fraction": 0.0,
        "training.global_batch_size": 16,
        "training.num_checkpoints": 4,
        "training.train_domains": "source",
    },
)


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return hold_out(Dataset("tiny", two_domains(200, 0), two_domains(80, 1)), 0.2, seed=0)


def two_domains(num: int, seed: int) -> ImageSet:
    """Images of four classes; four of every eight are of the target, inverted."""
    plain = images(num, seed)
    domain = np.arange(num) // 4 % 2
    pixels = np.where(domain[:, None, None, None] == 1, 255 - plain.images, plain.images)
    return change(plain, images=pixels, domain=domain, domain_names=("plain", "inverted"))


def without_labels(images: ImageSet) -> ImageSet:
    """The target's labels are not known."""
    return change(images, fine=np.where(images.domain == 0, images.fine, UNLABELLED))


def test_of_a_target_without_labels_no_accuracy_is_measured() -> None:
    known = Dataset("tiny", two_domains(200, 0), two_domains(80, 1))
    unknown = Dataset("tiny", without_labels(two_domains(200, 0)), without_labels(two_domains(80, 1)))
    settings, tasks = AnalysisSettings(), ("ncc", "transfer_pairs@domains", "transfer@domains")
    assert not unmeasurable(known, settings, tasks) and not not_measured(known, tasks)
    refused = unmeasurable(unknown, settings, tasks)
    assert list(refused) == ["transfer_pairs@domains"] and "accuracy in the target" in not_measured(unknown, tasks)
    assert "100 of 100 training images outside the source (target inverted) have no label" in refused[tasks[1]]
    measured = measured_images(unknown, settings, tasks[:1]).dataset
    for split, whole in ((measured.train, unknown.train), (measured.test, unknown.test)):
        assert isinstance(whole, ImageSet)
        assert np.array_equal(split.images, whole.images[whole.domain == 0])
    with pytest.raises(UserError, match="level class asks for labels of the target"):
        data_levels(unknown)


def test_what_needs_no_label_of_the_target_is_measured_as_with_labels() -> None:
    """But for the noise of its mean, which its labels tell and else those of the source."""
    known = Dataset("tiny", two_domains(200, 0), two_domains(80, 1))
    unknown = Dataset("tiny", without_labels(two_domains(200, 0)), without_labels(two_domains(80, 1)))
    tasks = ["ncc", "transfer@domains", "transfer_centred@domains", "domain_distance@domains"]
    backbone = build_backbone(PRETRAINING.backbone, PRETRAINING.data.image_size).eval()
    card = {"config": {"data": {"image_size": 8}}, "normalisation": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    rows = []
    for dataset in (known, unknown):
        images = measured_images(dataset, AnalysisSettings(), tasks)
        found = measure_backbone(backbone, card, images, tasks, torch.device("cpu"))
        rows.append(
            {(row.layer, *row.measurement[:3]): row.measurement.value for task in tasks[1:] for row in found[task]}
        )
        assert found["ncc"]
    lacking = {metric for *_, metric in rows[0].keys() - rows[1].keys()}
    assert lacking == {"domain_distance_of_class", *(m for *_, m in rows[0] if m.startswith("target_accuracy_"))}
    of_both = [{key: value for key, value in one.items() if key[-1] not in lacking} for one in rows]
    distances = [{key: one.pop(key) for key in list(one) if key[-1] == "domain_distance"} for one in of_both]
    assert of_both[0] == of_both[1] and distances[0] == pytest.approx(distances[1], rel=1e-3)


@pytest.fixture(scope="module")
def sweep(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Storage, Checkpoint, Probe]:
    """A sweep's folder with a start, the start, and its probe."""
    torch.set_num_threads(1)
    sweep = Storage.at(tmp_path_factory.mktemp("finetune"))
    pretrained_on = change(dataset, train=images(64, 9))  # other images, hence another normalisation
    pretrain(PRETRAINING, pretrained_on, sweep.child("pretrained"), lambda metrics: None)
    pretrained = load_checkpoint(sweep.child("pretrained"), checkpoint_folder(1))
    assert isinstance(dataset.train, ImageSet) and dataset.train.domain is not None and dataset.validation is not None
    sets = {"train": dataset.train.take(np.flatnonzero(dataset.train.domain == 0)), VALIDATION: dataset.validation}
    backbone = load_backbone(pretrained)
    features = {n: extract(backbone, Pictures(s.images), pretrained.card, CPU)[-1] for n, s in sets.items()}
    probe = probe_path(*((features[n], torch.tensor(s.fine)) for n, s in sets.items()), num_classes=4)
    start = make_start(pretrained, probe.head, {"c": probe.c})
    write_start(sweep, start)
    return sweep, start, probe


def trial_of(sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset, **changes: Any) -> Trial:
    options = {"method.start": start_option(sweep[1])} | {k.replace("__", "."): v for k, v in changes.items()}
    return make_trials([replace(FINETUNING, options)], dataset.fingerprint)[0]


def train(sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset, name: str = "", **changes: Any) -> Storage:
    trial = trial_of(sweep, dataset, **changes)
    folder = sweep[0].child(name or trial.key)
    if not folder.names("checkpoints"):
        Ledger(sweep[0]).write_config(trial)
        pretrain(trial.config, dataset, folder, lambda metrics: None, state_seconds=0)
    return folder


def load(folder: Storage, epoch: int) -> Checkpoint:
    return load_checkpoint(folder, checkpoint_folder(epoch))


def test_lp_ft_begins_as_the_linear_probe(sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset) -> None:
    _, start, probe = sweep
    first = load(train(sweep, dataset, method__head="probe"), 0)
    found = features_of(first, measured_sets(dataset), CPU)
    assert set(found) == {TEST, VALIDATION, TARGET}
    best = max(one["validation_accuracy"] for one in probe.path)
    assert head_accuracy(first, found[VALIDATION]) == best > 0.4
    assert all(torch.equal(first.model[name], start.model[name]) for name in start.model)
    assert first.card["normalisation"] == start.card["normalisation"]


def test_a_fresh_head_depends_on_the_seed_and_the_backbone_does_not(
    sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset
) -> None:
    one, other = (load(train(sweep, dataset, seed=seed), 0).model for seed in (0, 1))
    assert not torch.equal(one[HEAD[0]], other[HEAD[0]])
    assert one[HEAD[0]].abs().max() <= 8**-0.5  # torch's initialisation of a linear layer of 8 inputs
    assert all(torch.equal(one[name], other[name]) for name in one if name.startswith("backbone."))


def test_frozen_batch_norm_keeps_its_statistics_bit_by_bit(
    sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset
) -> None:
    for mode in ("frozen", "train"):
        folder = train(sweep, dataset, method__batch_norm=mode, method__head="probe")
        first, last = load(folder, 0).model, load(folder, 3).model
        buffers = [name for name in first if "running_" in name or "num_batches" in name]
        assert len(buffers) == 3 * 4
        same = [torch.equal(first[name], last[name]) for name in buffers]
        assert all(same) if mode == "frozen" else not any(same)
        assert not torch.equal(first["backbone.stem.1.weight"], last["backbone.stem.1.weight"])  # it trains either way


def test_a_vanishing_rate_moves_no_feature(sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset) -> None:
    changes = {"method__batch_norm": "frozen", "optimiser__learning_rate": 1e-30, "method__head": "probe"}
    folder = train(sweep, dataset, **changes)
    before, after = (features_of(load(folder, epoch), measured_sets(dataset), CPU) for epoch in (0, 3))
    for name in before:
        distances = feature_distances(before[name].layers, after[name].layers)
        assert [float(d.max()) for d in distances] == [0.0] * 3
    assert head_accuracy(load(folder, 3), after[TARGET]) == head_accuracy(load(folder, 0), before[TARGET])


def test_interrupted_it_ends_as_uninterrupted(sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset) -> None:
    trial = trial_of(sweep, dataset, method__head="probe", method__batch_norm="frozen")
    whole = pretrain(trial.config, dataset, sweep[0].child("whole"), lambda metrics: None, state_seconds=0)
    killed = sweep[0].child("killed")
    for kill_after in (1, 2):
        with pytest.raises(Killed):
            pretrain(trial.config, dataset, killed, KillAfter(kill_after), state_seconds=0)
    resumed = pretrain(trial.config, dataset, killed, lambda metrics: None, state_seconds=0)
    assert untimed(whole.history) == untimed(resumed.history)
    for epoch in range(4):
        a, b = load(sweep[0].child("whole"), epoch).model, load(killed, epoch).model
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_every_epoch_is_measured_once_and_as_by_hand(
    sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset
) -> None:
    folder = train(sweep, dataset, method__head="probe")
    trial, ledger = trial_of(sweep, dataset, method__head="probe"), Ledger(sweep[0])
    assert lacking_epochs(ledger)[trial.key] == [0, 1, 2, 3]
    measure_trial(ledger, trial.key, [0, 1], dataset)
    assert lacking_epochs(ledger)[trial.key] == [2, 3]
    measure_trial(ledger, trial.key, [2, 3], dataset)
    assert trial.key not in lacking_epochs(ledger)
    table: Any = read_table(sweep[0].filesystem, sweep[0].path("measurements"))
    rows = table[(table.trial_key == trial.key) & (table.epoch == 3) & (table.split == TARGET)]
    value = {(row.layer_name, row.metric): row.value for row in rows.itertuples()}
    assert len(value) == 1 + 2 * 3
    last = load(folder, 3)
    inverted = measured_sets(dataset)[TARGET]
    target = Pictures(inverted.images)
    before, after = (extract(load_backbone(c), target, c.card, CPU)[1] for c in (sweep[1], last))
    naive = [sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5
             for a, b in zip(before, after, strict=True)]  # fmt: skip
    assert value["block1", "feature_distance"] == pytest.approx(np.mean(naive), rel=1e-4)
    assert value["block1", "relative_feature_distance"] == pytest.approx(np.mean(naive) / spread(before), rel=1e-4)
    logits = after.double() @ last.model[HEAD[0]].double().T + last.model[HEAD[1]].double()
    right = np.mean(logits.argmax(1).numpy() == inverted.fine)
    assert value["representation", "head_accuracy"] == pytest.approx(right)
    distances = table[(table.epoch == 0) & (table.metric == "feature_distance")]
    assert (distances.value == 0).all()


def test_rate_and_epoch_are_chosen_on_validation_alone(
    sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset
) -> None:
    trials = {
        (head, rate): trial_of(sweep, dataset, method__head=head, optimiser__learning_rate=rate)
        for head in ("fresh", "probe")
        for rate in (0.1, 0.01)
    }
    validation = {("fresh", 0.1): (0.9, 0.3, 0.6), ("fresh", 0.01): (0.2, 0.6, 0.5),
                  ("probe", 0.1): (0.7, 0.1, 0.1), ("probe", 0.01): (0.7, 0.2, 0.2)}  # fmt: skip
    rows = [
        {"trial_key": trials[case].key, "epoch": epoch, "layer_name": "representation", "split": split,
         "metric": metric, "value": accuracy if split == VALIDATION else 1 - accuracy}
        for case, accuracies in validation.items() for epoch, accuracy in enumerate(accuracies)
        for split in (VALIDATION, TARGET)
        for metric in ("head_accuracy", "feature_distance", "relative_feature_distance")
    ]  # fmt: skip
    found = {one.case.protocol: one for one in choose(trials.values(), pd.DataFrame(rows))}
    assert set(found) == {"lp", "ft", "lp_ft"}
    assert (found["ft"].rate, found["ft"].epoch) == (0.01, 1)  # a fresh head at epoch 0 counts for nothing
    assert found["ft"].accuracy[TARGET] == pytest.approx(0.4)
    assert (found["lp_ft"].rate, found["lp_ft"].epoch) == (0.01, 1)
    assert found["lp"].epoch == 0 and found["lp"].accuracy[VALIDATION] == 0.7
    shown = lines([one._replace(case=one.case._replace(seed=seed)) for one in found.values() for seed in range(2)])
    assert "0.4 (0.40)" in next(line for line in shown if " ft " in line)
    assert len(shown) == 5 and "40.0 ± 0.0" in next(line for line in shown if " ft " in line)


def test_a_start_that_is_not_there_or_does_not_fit(
    sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset, tmp_path: Path
) -> None:
    trial = trial_of(sweep, dataset)
    with pytest.raises(UserError, match="has no start vicreg-1-8-s0-e1@"):
        start_of(trial.config, Storage.at(tmp_path))
    with pytest.raises(UserError, match=r"--depth 1 .* the trial has .*--depth 2 "):
        start_of(replace(trial.config, {"backbone.depth": 2}), sweep[0])
    other = change(sweep[1], model=sweep[1].model | {HEAD[1]: torch.ones(4)})
    assert start_hash(other) != start_hash(sweep[1])
    elsewhere = Storage.at(tmp_path)
    write_start(elsewhere, other)
    folder = tmp_path / "starts" / start_option(other)
    folder.rename(folder.with_name(start_option(sweep[1])))
    with pytest.raises(UserError, match="what lies in its place is"):
        start_of(trial.config, elsewhere)
    five = change(dataset.train, fine_names=(*dataset.train.fine_names, "e"))
    wider = replace(trial.config, {"method.head": "probe"})
    with pytest.raises(UserError, match="tells 4 labels apart, class has 5"):
        pretrain(wider, change(dataset, train=five), sweep[0].child("wider"), lambda metrics: None)


def test_equal_weights_of_two_methods_are_two_starts(sweep: tuple[Storage, Checkpoint, Probe], tmp_path: Path) -> None:
    config = sweep[1].card["config"]
    other = change(sweep[1], card=sweep[1].card | {"config": config | {"method": {"name": "simclr"}}})
    both, storage = {start_option(one) for one in (sweep[1], other)}, Storage.at(tmp_path)
    assert start_hash(other) == start_hash(sweep[1]) and len(both) == 2
    write_start(storage, sweep[1])
    write_start(storage, other)
    assert {start_option(one) for one in read_starts(storage)} == both


def test_a_start_of_a_sweep_begun_before_names_were_part_of_its_folder(
    sweep: tuple[Storage, Checkpoint, Probe], dataset: Dataset, tmp_path: Path
) -> None:
    write_start(Storage.at(tmp_path), sweep[1])
    folder = tmp_path / "starts" / start_option(sweep[1])
    folder.rename(folder.with_name(start_hash(sweep[1])))
    assert start_of(trial_of(sweep, dataset).config, Storage.at(tmp_path)) is not None


def test_held_out_images_are_balanced_and_of_the_source_alone() -> None:
    whole = Dataset("tiny", two_domains(200, 0), two_domains(80, 1))
    held = hold_out(whole, 0.2, seed=0)
    validation, train, every = held.validation, held.train, whole.train
    assert validation is not None and isinstance(train, ImageSet) and isinstance(every, ImageSet)
    assert (len(train), len(validation)) == (180, 20)
    assert (np.bincount(validation.fine) == 5).all() and (validation.domain == 0).all()
    assert {x.tobytes() for part in (train, validation) for x in part.images} == {x.tobytes() for x in every.images}
    assert len({d.fingerprint for d in (whole, held, hold_out(whole, 0.2, seed=1))}) == 3
    assert [len(one) for one in measured_sets(held).values()] == [20, 40, 40]
    with pytest.raises(UserError, match="--validation-fraction above 0"):
        measured_sets(whole)
    test = held.test
    assert isinstance(test, ImageSet)
    with pytest.raises(UserError, match=r"in the target is measured, .* 40 of 40 test images .* have no label"):
        measured_sets(change(held, test=without_labels(test)))


def test_a_start_is_named_by_the_domains_it_was_pretrained_on(sweep: tuple[Storage, Checkpoint, Probe]) -> None:
    start = sweep[1]

    def name(**options: Any) -> str:
        config = {**start.card["config"], "data": start.card["config"]["data"] | {"shift": "blur:0.5"}}
        config["training"] = config["training"] | options
        return start_option(Checkpoint(start.card | {"config": config}, start.model)).partition("-")[0]

    method = start.card["config"]["method"]["name"]
    assert name(train_domains="both") == method
    assert name(train_domains="source") == f"{method}_source"
    assert is_fine_tuned(f"supervised from {method}_source-1-8-s0-e2 (probed head)")


def test_starts_of_one_name_are_told_apart_and_warned_of() -> None:
    twins = [f"vicreg-1-8-s0-e2@{digit * 16}" for digit in "ab"]
    assert same_names([*twins, "vicreg-1-8-s1-e2@" + "c" * 16])[0].startswith(
        "warning: 2 checkpoints are called vicreg"
    )
    values = {"validation": 0.5, "test": 0.5}
    chosen = [Chosen(OutcomeCase(start, "ft", "train", 0), 0.1, 1, values, values, values) for start in twins]
    assert [line.split()[0] for line in lines(chosen)[2:]] == ["vicreg-1-8-s0-e2@aaaa", "vicreg-1-8-s0-e2@bbbb"]
