"""The analysis stage: only what is missing, and a damaged checkpoint does not stop the others."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
import torch

from analysis import pipeline, table
from analysis.__main__ import main as analyse
from analysis.command import _explain, analyse_with_progress
from analysis.features import LayerFeatures, Pictures, extract, load_backbone
from analysis.images import measured_images, pictures
from analysis.labels import LabelLevel
from analysis.measurable import measurable
from analysis.measure import measure_checkpoint
from analysis.metrics import mine
from analysis.metrics.base import Measurement
from analysis.pipeline import MEASUREMENTS, Outcome, _Measurer
from analysis.settings import AnalysisSettings
from analysis.survey import Work, missing_work, survey
from analysis.sweep import _of_methods
from ray_ssl.checkpoints import checkpoint_folder, load_checkpoint, saved_epochs
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.base import ImageSet
from ray_ssl.errors import UserError
from ray_ssl.ledger import DONE, STOPPED, Ledger, Trial, TrialState, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from tests.analysis.written_tables import write_part


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Ledger, Trial, Dataset]:
    config = PretrainConfig.from_dict(
        {
            "data": {"dataset": "shapes", "num_images": 200, "num_test_images": 60},
            "backbone": {"name": "res_lh", "depth": 2, "width": 6},
            "method": {"name": "vicreg", "projector_width": 16, "embedding_dim": 8},
            "training": {"epochs": 2, "global_batch_size": 50, "precision": "fp32"},
        }
    )
    dataset = load_dataset(config.data)
    ledger = Ledger(Storage.at(tmp_path_factory.mktemp("sweep")))
    trial = make_trials([config], dataset.fingerprint)[0]
    ledger.write_config(trial)
    pretrain(config, dataset, ledger.trial(trial.key), lambda metrics: None)
    return ledger, trial, dataset


def test_one_pass_gives_the_features_of_every_layer(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(2))
    features = extract(load_backbone(checkpoint), Pictures(dataset.test.images), checkpoint.card, torch.device("cpu"))
    assert [f.shape for f in features] == [(60, 6)] * 4
    assert features[-1] is features[-2]  # the representation is the pooled last block
    trainer = Trainer(trial.config, dataset, torch.device("cpu"))
    trainer.method.load_state_dict(checkpoint.model)
    torch.testing.assert_close(trainer.features(cast(ImageSet, dataset.test)), features[-1])


def test_features_in_bf16_are_near_those_in_fp32(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(2))
    exact, rough = (
        [
            one.value
            for settings in [AnalysisSettings(100, 40, feature_precision=precision)]
            for row in measure_checkpoint(
                checkpoint, measured_images(dataset, settings, ["cdnv"]), ["cdnv"], torch.device("cpu")
            )["cdnv"]
            for one in [row.measurement]
            if one.metric == "class_variance"
        ]
        for precision in ("fp32", "bf16")
    )
    assert rough != exact and rough == pytest.approx(exact, rel=0.05)


def test_measuring_names_every_layer_level_and_metric(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(1))
    images = measured_images(dataset, AnalysisSettings(100, 40), ["ncc", "rank"])
    assert (len(images.dataset.train), len(images.dataset.test)) == (100, 40)
    rows = measure_checkpoint(checkpoint, images, ["ncc", "rank"], torch.device("cpu"))
    assert [r.layer_name for r in rows["rank"]] == ["stem", "block1", "block2", "representation"]
    assert {(r.layer_name, r.measurement.level) for r in rows["ncc"]} == {
        (layer, level) for layer in ("stem", "block1", "block2", "representation") for level in ("class", "superclass")
    }


def test_mutual_information_is_of_the_chosen_layers(
    trained: tuple[Ledger, Trial, Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def remember(features: LayerFeatures, levels: list[LabelLevel]) -> Iterator[Measurement]:
        assert features.inputs is not None
        seen.append((features.inputs[1], features.test))
        yield Measurement("none", "test", "mi_dv", 1.0)

    monkeypatch.setattr(mine, "measure", remember)
    ledger, trial, dataset = trained
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(1))
    features = extract(load_backbone(checkpoint), Pictures(dataset.test.images), checkpoint.card, torch.device("cpu"))
    for settings, names in (
        (AnalysisSettings(), ["representation"]),
        (AnalysisSettings(mine_input="stem", mine_layer="block1"), ["block1"]),
        (AnalysisSettings(mine_input="stem", mine_layer="all"), ["block1", "block2", "representation"]),
    ):
        images = measured_images(dataset, settings, ["mine"])
        rows = measure_checkpoint(checkpoint, images, ["mine"], torch.device("cpu"))["mine"]
        assert [row.layer_name for row in rows] == names
        assert {row.measurement.level for row in rows} == {"none" if settings.mine_input == "pixels" else "layer-00"}
    assert [(x.shape[1], z.equal(features[i])) for (x, z), i in zip(seen[:2], (3, 1), strict=True)] == [
        (3 * trial.config.data.image_size**2, True), (6, True)
    ]  # fmt: skip
    assert seen[1][0].equal(features[0])


def test_level_sample_tells_views_of_single_images_apart(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    settings = AnalysisSettings(num_samples=5, num_train_views=6, num_test_views=3)
    images = measured_images(dataset, settings, ["ncc@sample"])
    checkpoint = load_checkpoint(ledger.trial(trial.key), checkpoint_folder(1))
    found = measure_checkpoint(checkpoint, images, ["ncc@sample", "ncc"], torch.device("cpu"))
    assert {r.measurement.level for r in found["ncc@sample"]} == {"sample"}
    assert {r.measurement.level for r in found["ncc"]} == {"class", "superclass"}
    train, test = pictures(checkpoint.card, images, "sample")
    backbone, device = load_backbone(checkpoint), torch.device("cpu")
    features = extract(backbone, train, checkpoint.card, device)[-1].reshape(5, 6, -1).double()
    fresh = extract(backbone, test, checkpoint.card, device)[-1].reshape(5, 3, -1).double()
    assert not features[:, 0].allclose(fresh[:, 0])
    nearest = torch.cdist(fresh.flatten(0, 1), features.mean(1)).argmin(1).reshape(5, 3)
    naive = (nearest == torch.arange(5)[:, None]).double().mean().item()
    last = [r.measurement for r in found["ncc@sample"] if r.layer_name == "representation"]
    assert {m.value for m in last if (m.split, m.metric) == ("test", "ncc_accuracy")} == {naive}
    assert extract(backbone, train, checkpoint.card, device)[-1].equal(features.flatten(0, 1).float())


def test_views_of_samples_do_not_depend_on_the_checkpoint(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, dataset = trained
    settings = AnalysisSettings(num_samples=4, num_train_views=2, num_test_views=1)
    images = measured_images(dataset, settings, ["ncc@sample"])
    cards = [load_checkpoint(ledger.trial(trial.key), checkpoint_folder(epoch)).card for epoch in (0, 2)]
    first, later = (pictures(card, images, "sample")[0].normalised(card) for card in cards)
    assert first.equal(later) and not first[0].equal(first[1])
    with pytest.raises(UserError, match="level sample takes 500 training images"):
        measured_images(dataset, AnalysisSettings(), ["ncc@sample"])


def test_work_is_what_is_missing(trained: tuple[Ledger, Trial, Dataset]) -> None:
    ledger, trial, _ = trained
    work = missing_work(ledger, [trial], AnalysisSettings(), ["ncc", "rank"])
    assert [(w.epoch, w.tasks) for w in work] == [(epoch, ("ncc", "rank")) for epoch in (0, 1, 2)]


def lost(trained: tuple[Ledger, Trial, Dataset]) -> dict[str, list[int]]:
    ledger, trial, _ = trained
    return survey(ledger, [trial], AnalysisSettings(), ["ncc"]).lost


def test_a_finished_trial_loses_what_was_never_measured_or_set_aside(
    trained: tuple[Ledger, Trial, Dataset], tmp_path: Path
) -> None:
    ledger, trial, dataset = trained
    copy = tmp_path / "sweep"
    shutil.copytree(ledger.sweep.local_path, copy)
    ledger = Ledger(Storage.at(copy))
    trained = ledger, trial, dataset
    folder = ledger.trial(trial.key)
    folder.delete_folder(checkpoint_folder(1))
    assert lost(trained) == {}  # it may still come: the trial is not done
    ledger.end(trial.key, DONE, {"history": []})
    assert lost(trained) == {trial.key: [1]}
    (folder.local_path / checkpoint_folder(2) / "manifest.json").unlink()
    assert lost(trained) == {trial.key: [1, 2]}
    about = table.Checkpoint("sweep", trial.key, "vicreg", 2, 6, 0, "shapes", 1)
    parts = ledger.sweep.path(MEASUREMENTS)
    write_part(ledger.sweep.filesystem, parts, about, "ncc", [], AnalysisSettings().of("ncc"))
    assert lost(trained) == {trial.key: [2]}  # measured, then deleted to save space
    write_part(ledger.sweep.filesystem, parts, about._replace(epoch=2), "rank", [], {})
    assert lost(trained) == {}  # deleted too; a metric that is new is no reason to train again
    folder.write(f"damaged/{checkpoint_folder(2)}/card.json", b"")
    assert lost(trained) == {trial.key: [2]}  # not deleted: set aside


def test_a_reopened_trial_starts_again(tmp_path: Path) -> None:
    ledger = Ledger(Storage.at(tmp_path))
    ledger.end("0" * 16, DONE, {"history": []})
    ledger.trial("0" * 16).write("state/step-0000000004/manifest.json", b"")  # behind what was lost
    ledger.reopen("0" * 16)
    assert ledger.state("0" * 16) is TrialState.NEW


def test_what_the_images_allow_is_measured_and_what_not_is_a_line_each(
    trained: tuple[Ledger, Trial, Dataset], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, _, dataset = trained  # of 200 images, without targets
    tasks, reasons = measurable(dataset, AnalysisSettings(), ["ncc", "ncc@sample", "cdnv@sample", "ncc@targets"])
    assert tasks == ["ncc"]
    samples, targets = reasons
    assert samples == "level sample takes 500 training images, shapes has 200: give --num-samples 200 or fewer"
    assert targets.startswith("this sweep has no targets of graded randomness")
    place = ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db", "--metrics", "ncc"]
    for levels, reason in ((["sample"], samples), (["sample", "targets"], samples), (["targets"], targets)):
        assert analyse([ledger.sweep.uri, *place, "--levels", *levels]) == 2
        assert capsys.readouterr().err == f"error: {reason}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_that_has_not_begun_has_nothing_to_measure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    ledger.write_config(make_trials([PretrainConfig()], "data")[0])
    assert analyse([str(tmp_path / "sweep"), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]) == 2
    assert capsys.readouterr().err.endswith("sweep has no checkpoint: none of its 1 trial(s) has begun\n")
    ledger.end(make_trials([PretrainConfig()], "data")[0].key, DONE, {"history": []})
    assert analyse([str(tmp_path / "sweep"), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]) == 2
    assert "has no checkpoint: 1 of its 1 trial(s) ended, so they were deleted or moved" in capsys.readouterr().err


def test_a_level_that_is_no_group_is_told_its_group(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for level, group in (
        ("superclass", "data, where the images have one"),
        ("teacher-0.25", "targets, of a sweep that"),
    ):
        assert analyse([str(tmp_path), "--levels", level]) == 2
        assert (
            f"unknown level group '{level}'; level {level} is measured by --levels {group}" in capsys.readouterr().err
        )


def test_a_name_that_is_not_there_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for flag, what in (("--metrics", "metric"), ("--levels", "level group")):
        name = {"--metrics": "knn", "--levels": "sample"}[flag]
        assert analyse([str(tmp_path), flag, name, "all"]) == 2
        said = capsys.readouterr().err
        assert said == f"error: {what} all stands alone, given {name} all: give all, or the names\n"
    trials = make_trials([PretrainConfig()], "data")
    for name, hint in (("simclr", "; known: vicreg"), ("vicregg", "; did you mean 'vicreg'?")):
        with pytest.raises(UserError) as raised:
            _of_methods(trials, [name])
        assert str(raised.value) == f"--methods: no trial of {name!r}{hint}"


def test_a_damaged_earlier_checkpoint_is_set_aside_and_the_one_compared_with_it_is_kept(
    trained: tuple[Ledger, Trial, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger, trial, dataset = trained
    shutil.copytree(ledger.sweep.local_path, tmp_path / "sweep")
    ledger = Ledger(Storage.at(tmp_path / "sweep"))
    folder = ledger.trial(trial.key)
    folder.write(f"{checkpoint_folder(1)}/model.safetensors", b"torn")
    measurer = _Measurer.__new__(_Measurer)
    measurer.ledger, measurer.device = ledger, torch.device("cpu")
    measurer.images = measured_images(dataset, AnalysisSettings(100, 40), ["cka"])

    def compared_with() -> set[str]:
        rows = table.read_table(ledger.sweep.filesystem, ledger.sweep.path(MEASUREMENTS))
        return set(rows[rows["metric"] == "cka_between_epochs"]["level"])

    class Pool:
        def __init__(self, *_: object) -> None: ...

        def map(self, _: type, rows: list[dict[str, object]]) -> Iterator[dict[str, object]]:
            return map(measurer, rows)

    monkeypatch.setattr(pipeline, "Pool", Pool)
    monkeypatch.setattr("ray.put", lambda value: value)
    work = [Work(trial.key, 2, ("cka",))]
    left = analyse_with_progress(ledger, work, dataset, AnalysisSettings(100, 40), 1)  # its trial may be writing it
    assert [line.partition(", epoch ")[2] for line in left] == [
        "1: damaged checkpoint (checkpoints/epoch-000001/model.safetensors is torn or altered), "
        "left out of what epoch 2 is compared with"
    ]
    assert compared_with() == {"epoch-000000"} and saved_epochs(folder) == [0, 1, 2]
    ledger.end(trial.key, DONE, {"history": []})
    aside = analyse_with_progress(ledger, work, dataset, AnalysisSettings(100, 40), 1)
    assert aside == [f"{left[0]}, set aside in {folder.address('damaged')}; the sweep's command trains it again"]
    assert compared_with() == {"epoch-000000"} and saved_epochs(folder) == [0, 2]
    assert analyse_with_progress(ledger, work, dataset, AnalysisSettings(100, 40), 1) == []


def test_a_checkpoint_that_its_trial_may_be_writing_is_left_alone(tmp_path: Path) -> None:
    ledger = Ledger(Storage.at(tmp_path))
    trial = make_trials([PretrainConfig()], "data")[0]
    ledger.write_config(trial)
    folder = checkpoint_folder(1)
    ledger.trial(trial.key).write(f"{folder}/manifest.json", b"torn")
    measurer = _Measurer.__new__(_Measurer)
    measurer.ledger = ledger
    row = {"key": trial.key, "epoch": 1, "tasks": ["ncc"]}
    assert not measurer(row)["damaged"]
    assert ledger.trial(trial.key).exists(folder)
    ledger.end(trial.key, STOPPED, {"reason": "x", "last": {}})
    assert measurer(row)["damaged"]
    assert not ledger.trial(trial.key).exists(folder)
    outcome = Outcome(trial.key, 1, "damaged", damaged=True)
    assert _explain(outcome, ledger).endswith("its trial was stopped early and is not trained again")
