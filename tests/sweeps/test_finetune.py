"""The fine-tuning sweep as a user runs it: killed, again, once more; bad input."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from analysis.settings import AnalysisSettings
from analysis.table import read_table
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import load_dataset
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.finetune import read_starts, start_option
from ray_ssl.ledger import DONE, Ledger, make_trials
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from sweeps.cli import parse
from sweeps.finetune import SWEEP
from sweeps.finetuning import _run
from sweeps.room import DataSizes
from tests.ray_ssl.data.images import png, random_images, write_parquet
from tests.sweeps.command import kill, run, start, wait_for
from tests.sweeps.test_sweep import runs_of

PRETRAINING = PretrainConfig.from_dict(
    {
        "data": {"shift": "domains:star5,disc,ring,wave", "num_images": 160, "num_test_images": 80},
        "backbone": {"name": "res_lh", "depth": 1, "width": 4},
        "method": {"name": "vicreg", "projector_width": 8, "embedding_dim": 4},
        "training": {"epochs": 1, "global_batch_size": 40, "num_checkpoints": 2, "precision": "fp32"},
    }
)
LINE = [
    "--from", "results/pretrained", "--from-epochs", "0", "1", "--epochs", "2", "--global-batch-size", "20",
    "--learning-rates", "0.01", "0.1", "--seeds", "0", "1", "--batch-norms", "frozen", "--validation-fraction", "0.25",
    "--address", "local", "--num-cpus", "1", "--state-seconds", "0",
]  # fmt: skip


def pretrained(folder: Path, *configs: PretrainConfig) -> None:
    """Trains a sweep in this process."""
    torch.set_num_threads(1)
    ledger = Ledger(Storage.at(folder / "results" / "pretrained"))
    ledger.open("", {})
    for config in configs:
        dataset = load_dataset(config.data)
        trial = make_trials([config], dataset.fingerprint)[0]
        ledger.write_config(trial)
        done = pretrain(config, dataset, ledger.trial(trial.key), lambda metrics: None)
        ledger.end(trial.key, DONE, {"history": done.history})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep that was killed while it trained, and what the command printed that ended it."""
    folder = tmp_path_factory.mktemp("finetune")
    pretrained(folder, PRETRAINING)
    process = start(folder, *LINE, module="sweeps.finetune")
    wait_for(folder, "results/finetune-*/*/checkpoints/epoch-000001/manifest.json", process, seconds=400)
    kill(process)
    code, out, err = run(folder, *LINE, module="sweeps.finetune")
    assert (code, err) == (0, ""), (out, err)
    return folder, out


def sweep_of(folder: Path) -> Storage:
    (found,) = (folder / "results").glob("finetune-shapes-*")
    return Storage.at(found)


def test_every_trial_is_trained_on_the_source_and_measured_on_both(finished: tuple[Path, str]) -> None:
    folder, out = finished
    sweep = sweep_of(folder)
    trials = Ledger(sweep).known_trials()
    assert len(trials) == 2 * 2 * 2 * 2  # starts, heads, rates, seeds
    assert {trial.config.training.train_domains for trial in trials} == {"source"}
    assert {getattr(t.config.method, "start", "") for t in trials} == {start_option(s) for s in read_starts(sweep)}
    table: Any = read_table(sweep.filesystem, sweep.path("measurements"))
    accuracy = table[table.metric == "head_accuracy"]
    assert len(accuracy) == 16 * 3 * 3  # trials, epochs, sets of images
    assert set(accuracy.split) == {"validation", "test", "target"} and set(accuracy.level) == {"class"}
    moved = table[table.metric == "feature_distance"]
    assert set(moved.layer_name) == {"stem", "block1", "representation"}
    assert (moved[moved.epoch == 0].value == 0).all() and (moved[moved.epoch == 2].value > 0).all()
    shown = [line.split()[:3] for line in out.splitlines() if line.startswith("vicreg-1-4-s0-e")]
    assert shown == [[f"vicreg-1-4-s0-e{e}", p, "frozen"] for e in (0, 1) for p in ("ft", "lp", "lp_ft")]


def test_mlflow_shows_the_accuracies_of_every_head_by_epoch(finished: tuple[Path, str]) -> None:
    client, _, children = runs_of(finished[0], "finetune")
    assert len(children) == 16
    for name in ("validation", "test", "target"):
        history = client.get_metric_history(children[0].info.run_id, f"analysis/head_accuracy/{name}")
        assert [point.step for point in history] == [0, 1, 2]
    for name in ("test", "target"):
        history = client.get_metric_history(children[0].info.run_id, f"analysis/relative_feature_distance/{name}")
        assert [point.step for point in history] == [0, 1, 2] and history[0].value == 0 < history[2].value
    names = {child.info.run_name for child in children}
    assert len(names) == 16 and all(re.search(r" \(learning_rate 0\.0?1\)$", str(name)) for name in names)


def test_the_same_line_again_has_nothing_to_do(finished: tuple[Path, str]) -> None:
    folder, out = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    code, again, err = run(folder, *LINE, module="sweeps.finetune")
    assert (code, err) == (0, "") and "nothing to do: every trial is trained and measured\n" in again
    assert [line for line in again.splitlines() if line.startswith("vicreg-")] == [
        line for line in out.splitlines() if line.startswith("vicreg-")
    ]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def test_what_is_fine_tuned_is_not_fine_tuned_again(finished: tuple[Path, str]) -> None:
    with pytest.raises(UserError, match="itself a sweep of fine-tuning"):
        _run(parse(SWEEP, ["--from", sweep_of(finished[0]).uri]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--from SWEEP_FOLDER is missing"),
        (["--from", "nowhere"], "there is no folder .*nowhere"),
        (["--from", "results/pretrained", "--from-methods", "simclr"], "it has finished trials of vicreg"),
        (["--from", "results/pretrained", "--from-trials", "0123456789abcdef"], "no finished trial '0123456789abcdef'"),
        (["--from", "results/pretrained"], r"different networks, .*--depth \d.* choose those of one by --from-trials"),
        (["--from", "results/pretrained", "--from-epochs", "-3"], "--from-epochs are 0 .untrained. or more, given -3"),
        (["--from", "results/pretrained", "--method", "supervised"], "sets --method itself"),
        (["--from", "results/pretrained", "--train-domains", "all"], "sets --train-domains itself"),
        (["--from", "results/pretrained", "--search", "optuna", "--num-trials", "2", "--seeds", "0"], "no --search"),
    ],
)
def test_bad_input_is_one_line_before_anything_starts(
    arguments: list[str], message: str, two_networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_networks)
    with pytest.raises(UserError, match=message) as error:
        _run(parse(SWEEP, arguments))
    assert "\n" not in str(error.value)
    assert [path.name for path in (two_networks / "results").iterdir()] == ["pretrained"]


@pytest.fixture(scope="module")
def two_networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    pretrained(folder, PRETRAINING, replace(PRETRAINING, {"backbone.depth": 2}))
    return folder


def key_of(folder: Path) -> str:
    return next(path.name for path in sorted((folder / "results/pretrained").iterdir()) if path.is_dir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image-size", "48"], "--image-size is that of the checkpoints, it is 32; given 48: leave it out"),
        (["--width", "5"], "--width is that of the checkpoints, it is 4; given 5"),
        (["--backbone", "vit"], "--backbone is that of the checkpoints, it is res_lh; given vit"),
        (["--global-batch-size", "100"], "--global-batch-size 100 is larger than the training set"),
    ],
)
def test_what_the_checkpoints_do_not_allow_is_refused_before_a_probe(
    arguments: list[str], message: str, two_networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_networks)
    with pytest.raises(UserError, match=message):
        _run(parse(SWEEP, ["--from", "results/pretrained", "--from-trials", key_of(two_networks), *arguments]))
    assert [path.name for path in (two_networks / "results").iterdir()] == ["pretrained"]


def test_a_damaged_checkpoint_is_found_before_the_probe_of_another(
    two_networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = key_of(two_networks)
    shutil.copytree(two_networks / "results/pretrained", tmp_path / "results/pretrained")
    weights = tmp_path / "results/pretrained" / key / "checkpoints/epoch-000001/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-9])
    monkeypatch.chdir(tmp_path)
    line = [
        "--from",
        "results/pretrained",
        "--from-trials",
        key,
        "--from-epochs",
        "0",
        "1",
        "--global-batch-size",
        "20",
    ]
    for dry in (["--dry-run"], []):
        message = rf"--from: checkpoint of epoch 1 of .*{key}.* is torn or altered; choose others by --from-epochs"
        with pytest.raises(UserError, match=message):
            _run(parse(SWEEP, [*line, *dry]))
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["pretrained"]


def test_the_size_of_files_is_foretold_before_images_are_held_out(tmp_path: Path) -> None:
    images = [png(image) for image in random_images(40)]
    fine, coarse = [i % 4 for i in range(40)], [i % 4 // 2 for i in range(40)]
    for split in ("train", "test"):
        path = tmp_path / f"{split}-00000-of-00001.parquet"
        write_parquet(path, [*images], fine_label=fine, coarse_label=coarse)
    config = DataConfig(dataset=f"parquet:{tmp_path}", shift="subpopulations", validation_fraction=0.2)
    dataset = load_dataset(config)
    assert dataset.validation is not None and len(dataset.train) + len(dataset.validation) == 40
    sizes = DataSizes.foretold(config, AnalysisSettings())
    assert (sizes.num_train, sizes.num_test) == (40, 40)


def test_a_target_without_labels_is_refused_by_a_dry_run_too(
    two_networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(two_networks)
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("a", "b", "c", "d"):
        (source / name).mkdir(parents=True)
    target.mkdir()
    for row, image in enumerate(random_images(80, 8)):
        (source / "abcd"[row % 4] / f"{row}.png").write_bytes(png(image))
        (target / f"{row}.png").write_bytes(png(image))
    key = key_of(two_networks)
    images = ["--dataset", f"folder:{source}", "--shift", f"to:folder:{target}", "--image-size", "32"]
    for dry in (["--dry-run"], []):
        with pytest.raises(UserError, match=r"16 of 16 test images outside the source .* have no label") as error:
            _run(parse(SWEEP, ["--from", "results/pretrained", "--from-trials", key, *images, *dry]))
        assert "\n" not in str(error.value)
    assert [path.name for path in (two_networks / "results").iterdir()] == ["pretrained"]


def test_what_the_sweep_sets_itself_is_not_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(SWEEP, ["--methods", "vicreg"])
    assert "did you mean '--from-methods'?" in capsys.readouterr().err


def test_a_dry_run_says_what_would_be_probed_and_makes_nothing(
    two_networks: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(two_networks)
    key = key_of(two_networks)
    line = ["--from", "results/pretrained", "--from-trials", key, "--from-epochs", "0", "1", "--seeds", "4"]
    line += ["--learning-rates", "0.01", "0.1", "--global-batch-size", "20", "--address", "local", "--num-cpus", "1"]
    assert _run(parse(SWEEP, [*line, "--dry-run"])) == 0
    first, *probes = capsys.readouterr().out.splitlines()
    assert probes.pop(2) == (
        "warning: 1 of 2 checkpoint(s) are untrained (epoch 0), and BatchNorm is in training: LP-FT does not begin as "
        "its probe there; --batch-norms frozen does"
    )
    assert first.startswith("2 checkpoint(s) to probe first; trials from them wait for their probe")
    assert all(
        re.match(rf" *vicreg-[12]-4-s0-e{e} .*, trial {key}, epoch {e}$", one) for e, one in enumerate(probes[:2])
    )
    data, shift, *trials, last = probes[2:]
    assert data.startswith("data: shapes-photo-to-sketch, ") and shift.startswith("shift: source photo, target sketch")
    assert len(trials) == 2 * 2 * 2  # starts, heads, rates
    assert all(" new " in one and " about " in one for one in trials)
    heads = [re.match("-{16}  (FT .fresh head.|LP-FT .probed head.) [12]-4 seed 4 from vicreg-", one) for one in trials]
    assert all(heads) and len({head[1] for head in heads if head}) == 2 and last.startswith("8 trial(s), 8 to run:")
    assert len({one.split(" new ")[0] for one in trials}) == len(trials)
    for harmless in (["--batch-norms", "frozen"], ["--heads", "fresh"]):
        assert _run(parse(SWEEP, [*line, *harmless, "--dry-run"])) == 0
        assert "untrained" not in capsys.readouterr().out
    assert [path.name for path in (two_networks / "results").iterdir()] == ["pretrained"]
