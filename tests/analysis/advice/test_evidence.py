"""Evidence: of each encoder of finished sweeps, what was advised beside all that was measured."""

from __future__ import annotations

from dataclasses import replace as change
from pathlib import Path

import pandas as pd
import pytest
import torch

from analysis.advice import evidence
from analysis.advice.domains import domains_of
from analysis.advice.evidence import cases_of
from analysis.advice.facts import measure_layers
from analysis.advice.rule import FT, LP, LP_FT, PFA, Advice, recommend
from analysis.advice.scores import FINE_TUNING, TRANSFER, Case, better, lines, option_of
from analysis.features import LayerFeatures, Pictures, extract, load_backbone
from analysis.figures.base.numbers import Frame
from analysis.labels import LabelLevel
from analysis.metrics import transfer as transfer_metric
from analysis.metrics.transfer import HEADS
from analysis.pipeline import MEASUREMENTS
from analysis.survey import columns
from analysis.table import KIND, SCHEMA
from ray_ssl.checkpoints import Checkpoint, checkpoint_folder, load_checkpoint
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.base import ImageSet
from ray_ssl.errors import UserError
from ray_ssl.finetune import make_start, start_option, write_start
from ray_ssl.ledger import DONE, Ledger, Trial, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from tests.analysis.graph.trained import IMAGES, plan_of
from tests.sweeps.test_finetune import PRETRAINING

LAYERS = ("stem", "block1", "representation")
CLASSES = 4


def finished(ledger: Ledger, config: PretrainConfig) -> Trial:
    trial = make_trials([config], load_dataset(config.data).fingerprint)[0]
    ledger.write_config(trial)
    ledger.end(trial.key, DONE, {"history": []})
    return trial


def write(
    ledger: Ledger, trial: Trial, epoch: int, rows: list[tuple[int, str, str, str, str, float]], task: str = "test"
) -> None:
    about = columns(trial.config, "sweep", trial.key, "shapes", epoch)
    values = [dict(zip(SCHEMA.names, (*about, *row), strict=True)) for row in rows]
    sweep = ledger.sweep
    KIND.write(sweep.filesystem, sweep.path(MEASUREMENTS), about, task, values, {})


@pytest.fixture(scope="module")
def transfer(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A sweep with one encoder that was measured in the target."""
    torch.set_num_threads(1)
    ledger = Ledger(Storage.at(tmp_path_factory.mktemp("evidence") / "transfer"))
    trial = finished(ledger, PRETRAINING)
    pretrain(PRETRAINING, load_dataset(PRETRAINING.data), ledger.trial(trial.key), lambda metrics: None)
    rows = [(i, name, "class", "test", f"target_accuracy_{head}", 0.3 + 0.05 * i + 0.01 * j)
            for i, name in enumerate(LAYERS) for j, head in enumerate(HEADS)]  # fmt: skip
    write(ledger, trial, 1, rows)
    write(
        ledger, trial, 0, [(i, name, "class", "test", "target_accuracy_logistic", 0.9) for i, name in enumerate(LAYERS)]
    )
    return ledger


def encoder(ledger: Ledger) -> Checkpoint:
    return load_checkpoint(ledger.trial(ledger.known_trials()[0].key), checkpoint_folder(1))


def test_an_encoder_of_a_sweep_on_transfer(transfer: Ledger) -> None:
    said: list[str] = []
    (case,) = cases_of(transfer.sweep.uri, said.append)
    assert case.kind == TRANSFER and len(said) == 1
    assert len(case.accuracies) == len(LAYERS) * len(HEADS)
    assert case.accuracies["pfa3 of representation"] == pytest.approx(0.43)  # at the last epoch
    images = domains_of(load_dataset(PRETRAINING.data), "class", 0)
    advice = recommend(measure_layers(encoder(transfer), images), images.num_classes, (LP, PFA))
    assert case.advised == f"{advice.head} of {advice.layer}"
    assert case.lost("logistic of block1") == pytest.approx(0.08)


def in_target(start: Checkpoint, images: Dataset) -> dict[str, float]:
    """Accuracies of heads on the representation, as the metric "transfer" has them of features."""
    assert isinstance(images.train, ImageSet) and images.train.domain is not None and images.test.domain is not None
    train, test = (
        extract(load_backbone(start), Pictures(one.images), start.card, torch.device("cpu"))[-1]
        for one in (images.train, images.test)
    )
    domains = torch.from_numpy(images.train.domain), torch.from_numpy(images.test.domain)
    labels = torch.from_numpy(images.train.fine), torch.from_numpy(images.test.fine)
    level = LabelLevel("class", *labels, CLASSES, domains=domains)
    found = {row.metric: row.value for row in transfer_metric.measure(LayerFeatures(train, test), [level])
             if row.split == "test"}  # fmt: skip
    return {head: found[f"target_accuracy_{head}"] for head in HEADS}


def test_an_encoder_of_a_sweep_on_fine_tuning(
    transfer: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(Storage.at(tmp_path / "finetune"))
    start = make_start(encoder(transfer), (torch.zeros(CLASSES, 4), torch.zeros(CLASSES)), {"trial_key": "a"})
    write_start(ledger.sweep, start)
    base = replace(PRETRAINING, {"method": {"name": "supervised", "start": start_option(start)},
                                 "data.validation_fraction": 0.25, "training.train_domains": "source"})  # fmt: skip
    target = {"fresh": 0.4, "probe": 0.5}
    for head, accuracy in target.items():
        for seed, norm in ((0, "train"), (1, "train"), (0, "frozen")):
            change_of = {"method.head": head, "seed": seed, "method.batch_norm": norm}
            trial = finished(ledger, replace(base, change_of))
            for epoch in (0, 1):
                at = (2, "representation", "class")
                measured = 0.6 if epoch == 0 else accuracy + 0.02 * seed
                write(ledger, trial, epoch, [(*at, "validation", "head_accuracy", 0.5 + 0.1 * epoch),
                                             (*at, "test", "head_accuracy", 0.5),
                                             (*at, "target", "head_accuracy", measured)])  # fmt: skip
    advised = Advice(PFA, "block1", "pfa2", ())
    monkeypatch.setattr(evidence, "recommend", lambda layers, num_classes: advised)
    said: list[str] = []
    case, frozen = cases_of(ledger.sweep.uri, said.append)
    assert case.advised == "pfa2 of block1" and not case.why_unscored
    # Heads on the start that the table lacks are measured, as by --metrics transfer.
    heads = {f"{head} of {layer}" for head in HEADS for layer in LAYERS}
    assert set(case.accuracies) == set(frozen.accuracies) == heads | {"LP", "FT", "LP-FT"}
    for head, accuracy in in_target(start, load_dataset(base.data)).items():
        assert case.accuracies[f"{head} of representation"] == pytest.approx(accuracy)
    gone = case._replace(advised="pfa3 of block9")
    assert any("NOT SCORED 1 of 1: the table lacks what was advised" in line for line in lines([gone]))
    assert not any("this advice" in line for line in lines([gone])) and better([gone], FINE_TUNING) is None
    advised = Advice(LP_FT, "representation", "", ())
    said.clear()
    case, frozen = cases_of(ledger.sweep.uri, said.append)
    assert len(said) == 1 and said[0].startswith("vicreg-1-4-s0-e1 of ")  # once for both modes
    assert frozen.name == f"{case.name} frozen BatchNorm" and frozen.advised == case.advised
    assert next(lines([case, frozen], "a")).startswith(
        "evidence  2 cases (checkpoint, shift, BatchNorm mode) of 1 encoder(s), the very encoder that is advised on, of"
    )
    assert case.kind == FINE_TUNING and case.name == "vicreg-1-4-s0-e1" and case.advised == "LP-FT"
    measured = {"LP": 0.6, "FT": 0.41, "LP-FT": 0.51}
    assert {way: case.accuracies[way] for way in measured} == pytest.approx(measured)
    # The sweep is measured with --metrics transfer too: heads on the start are those of epoch 0, and no others.
    for epoch, accuracy in ((0, 0.7), (1, 0.9)):
        rows = [(1, "block1", "class", "test", "target_accuracy_pfa2", accuracy)]
        write(ledger, ledger.known_trials()[0], epoch, rows, "transfer")
    advised = Advice(PFA, "block1", "pfa2", ())
    whole = cases_of(ledger.sweep.uri)[0]
    assert whole.accuracies == pytest.approx({**measured, "pfa2 of block1": 0.7})
    assert not whole.why_unscored and whole.lost(whole.advised) == 0 and whole.lost("LP-FT") == pytest.approx(0.19)


def test_what_is_no_evidence(transfer: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="no finished trial"):
        cases_of(str(tmp_path))
    graph = Ledger(Storage.at(tmp_path / "graph"))
    for trial in plan_of(*IMAGES, "--resolution", "2", "--k", "3", "--seeds", "0").trials:
        graph.write_config(trial)
    with pytest.raises(UserError, match=r"trainings on an exact graph .* give sweeps of sweeps/finetune.py or sweeps/"):
        cases_of(graph.sweep.uri)
    ledger = Ledger(Storage.at(tmp_path / "plain"))
    write(ledger, finished(ledger, PRETRAINING), 1, [(2, "representation", "class", "test", "linear_accuracy", 0.5)])
    with pytest.raises(UserError, match="has no accuracies in a target"):
        evidence.finished(ledger.sweep.uri)
    other = change(load_dataset(PRETRAINING.data), name="other")
    monkeypatch.setattr(evidence, "trial_key", lambda config, fingerprint: "another")
    monkeypatch.setattr(evidence, "load_dataset", lambda config: other)
    evidence._images.cache_clear()
    evidence._dataset.cache_clear()
    with pytest.raises(UserError, match="does not hold the images"):
        cases_of(transfer.sweep.uri)


def test_right_is_within_a_point_of_the_best() -> None:
    cases = [
        Case(FINE_TUNING, "a", "LP-FT", {"LP": 0.50, "FT": 0.40, "LP-FT": 0.494}),
        Case(FINE_TUNING, "b", "LP", {"LP": 0.50, "FT": 0.40, "LP-FT": 0.60}),
        Case(TRANSFER, "c", "pfa1 of stem", {"pfa1 of stem": 0.3, "logistic of representation": 0.1}),
    ]
    found: Frame = pd.Series(list(lines(cases)))
    assert found.str.contains("this advice +right 1 of 2 \\(50%\\), 5.3 points").sum() == 1
    assert found.str.contains("always LP-FT +right 2 of 2 \\(100%\\), 0.3 points").sum() == 1
    assert found.str.contains("always FT +right 0 of 2 \\(0%\\), 15.0 points").sum() == 1
    assert found.str.contains("this advice +right 1 of 1 \\(100%\\), 0.0 points").sum() == 1
    assert found.str.contains("always LP +right 0 of 1 \\(0%\\), 20.0 points").sum() == 1
    assert found.str.contains("there, 'always LP-FT' was better than this advice, but too few cases to tell").sum() == 1
    assert found.str.contains("better than").sum() == 1
    assert not found.str.contains("always PFA").any()  # not measured in any of them
    assert found.str.contains("right: less than 1 point below the best").sum() == 2


def test_cases_of_untrained_encoders_are_said() -> None:
    cases = [Case(FINE_TUNING, f"a-e{epoch}", "LP", {"LP": 0.5}, "a", epoch == 0) for epoch in (0, 4)]
    assert sum("1 of the cases are of untrained encoders" in line for line in lines(cases)) == 1
    assert not any("untrained" in line for line in lines(cases[1:]))


def test_what_is_not_measured_is_not_scored_and_counted() -> None:
    """Two of four cases have what is scored; the others enter no number, and it is said what they lack."""
    accuracies = {"LP": 0.5, "FT": 0.4, "LP-FT": 0.6}
    cases = [
        Case(FINE_TUNING, str(n), advised, accuracies) for n, advised in enumerate(("LP-FT", "FT", "pfa1 of a", ""))
    ]
    said = "\n".join(lines(cases))
    assert "evidence  2 encoder(s) of sweeps on fine-tuning" in said and "scored: the whole advice, of LP, PFA" in said
    assert "NOT SCORED 1 of 4: the table lacks what was advised, pfa1 of a" in said
    assert "NOT SCORED 1 of 4: no one checkpoint is left" in said
    assert "this advice       right 1 of 2 (50%), 10.0 points" in said
    (frozen, *_) = [line for line in lines([Case(TRANSFER, "c", "a", {"a": 0.3})]) if "scored: " in line]
    assert "not to be trained" in frozen


def test_what_was_advised_is_looked_up_by_the_name_the_table_has() -> None:
    probe, pfa = Advice(LP, "representation", "logistic", ()), Advice(PFA, "block1", "pfa3", ())
    assert [option_of(probe, kind) for kind in (FINE_TUNING, TRANSFER)] == ["LP", "logistic of representation"]
    assert option_of(probe._replace(layer="stem"), FINE_TUNING) == "logistic of stem"
    assert option_of(pfa, FINE_TUNING) == option_of(pfa, TRANSFER) == "pfa3 of block1"
    assert option_of(Advice(FT, "representation", "", ()), FINE_TUNING) == "FT"


def test_cases_of_one_encoder_count_it_once() -> None:
    of_two = [Case(FINE_TUNING, f"{name}-e{epoch}", "FT", {"LP": 0.5, "FT": 0.4, "LP-FT": 0.5}, name)
              for name in "ab" for epoch in (1, 40)]  # fmt: skip
    assert next(iter(lines(of_two))).startswith(
        "evidence  4 cases (checkpoint, shift, BatchNorm mode) of 2 encoder(s) of sweeps on fine-tuning"
    )
    assert next(iter(lines(of_two[1:3]))).startswith("evidence  2 encoder(s) of sweeps on fine-tuning")
    best = better(of_two, FINE_TUNING)
    assert best is not None and best.over.endswith("of 2 encoder(s)")


def test_advice_that_is_always_the_same_is_called_that() -> None:
    accuracies = {"LP": 0.50, "FT": 0.40, "LP-FT": 0.60}
    same = [Case(FINE_TUNING, name, "LP-FT", accuracies) for name in "ab"]
    assert "this advice was 'always LP-FT'" in list(lines(same))[-1]
    worst = [case._replace(advised="FT") for case in same]
    assert "'always LP-FT' was better than this advice, but too few cases" in list(lines(worst))[-1]
    assert "'always LP-FT' would have been better" in list(lines([*worst, *worst]))[-1]
    other = same[0]._replace(advised="FT", accuracies=accuracies | {"FT": 0.70})
    assert "lost no more than the best constant choice" in list(lines([same[0], other]))[-1]
    few = same[0]._replace(advised="LP", accuracies={"LP": 0.50})  # LP-FT was not measured: it is no choice there
    assert "'always LP' was better" in list(lines([few, same[1]._replace(advised="FT")]))[-1]
