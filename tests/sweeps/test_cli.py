"""Flags come from the configuration's types, and bad input is one line and exit code 2, before Ray starts."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_ssl.capacity import capacity
from ray_ssl.cluster import MachineOptions
from ray_ssl.config import PretrainConfig
from ray_ssl.errors import EXIT_BAD_INPUT, UserError
from ray_ssl.flags import Parser
from ray_ssl.plugins import plugin_names
from sweeps.cli import main, parse
from sweeps.depth_width import SWEEP
from sweeps.flags import add_config_flags
from sweeps.method import SWEEP as METHOD


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line with which a command line is refused."""
    try:
        code = main(SWEEP, list(arguments))
    except SystemExit as exit_:
        code = exit_.code
    out, err = capsys.readouterr()
    assert code == EXIT_BAD_INPUT
    assert "ray" not in sys.modules or not sys.modules["ray"].is_initialized()
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in out + err
    return err


def test_every_option_has_a_flag_with_its_help() -> None:
    parser = Parser(prog="x")
    flags = add_config_flags(parser, PretrainConfig(), set())
    text = " ".join(parser.format_help().split())
    for group in ("data", "views", "optimiser", "training"):
        for name, field in type(getattr(PretrainConfig(), group)).model_fields.items():
            assert flags[f"{group}.{name}"] == "--" + name.replace("_", "-")
            assert field.description
            assert " ".join(field.description.split())[:30] in text
    assert {"seed", "num_workers", "method.name", "method.temperature", "backbone.depth"} <= set(flags)


def test_the_grid_of_the_real_study() -> None:
    line = "--dataset cifar100 --depths 2 5 10 --widths 32 64 --epochs 100 --seeds 0 1 2"
    request = parse(SWEEP, line.split())
    configs = request.grid.configs()
    assert len(configs) == 18
    assert not request.demo
    assert {(c.backbone.depth, c.backbone.width) for c in configs} == {(d, w) for d in (2, 5, 10) for w in (32, 64)}  # type: ignore[attr-defined]
    assert {c.training.epochs for c in configs} == {100}
    wider = parse(SWEEP, [*line.split(), "--seeds", "3", "4"])
    assert wider.name == request.name
    assert parse(SWEEP, [*line.split(), "--epochs", "50"]).name != request.name


def test_the_demonstration_is_small_and_can_be_changed() -> None:
    request = parse(SWEEP, [])
    assert request.demo
    assert request.base.data.dataset == "shapes"
    other = parse(SWEEP, ["--method", "supervised", "--no-augment", "--epochs", "3"])
    chosen = {"name": "supervised", "augment": False, "target": "class"}
    assert other.base.method.model_dump() == chosen | {"start": "", "head": "fresh", "batch_norm": "train"}
    assert other.base.training.epochs == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--dephts 2", "did you mean '--depths'?"),
        ("--depth 2", "did you mean '--depths'?"),
        ("--depths two", "'two' is not a whole number"),
        ("--depths 0", "a whole number of at least 1, given 0"),
        ("--depths", "expected at least one argument"),
        ("--epochs 1.5", "'1.5' is not a whole number"),
        ("--epochs -3", "--epochs takes a whole number of at least 1, given -3"),
        ("--learning-rate nan", "--learning-rate"),
        ("--crop-scale 0.5 0.2", "from small to large"),
        ("--method vicregg", "invalid choice: 'vicregg'; did you mean 'vicreg'?"),
        ("--dataset CIFAR100", "unknown dataset 'CIFAR100'; did you mean 'cifar100'?"),
        ("--method vicreg --temperature 0.1", ", not to vicreg"),
        ("--method simclr --invariance-weight 2", "--invariance-weight belongs to method vicreg, not to simclr"),
        ("--num-workers 3", "cannot be split evenly"),
        ("--dataset imagenet", "unknown dataset 'imagenet'"),
        ("--dataset parquet:/nowhere", "/nowhere"),
        ("--dataset folder:/nowhere", "/nowhere"),
        ("--storage gopher://x", "give a local folder"),
        ("--storage /proc/nowhere", "cannot write to storage"),
        ("--storage /etc/passwd", "Not a directory: '/etc/passwd/"),
        ("--storage what?", "must be free of ? and %, given 'sqlite:///"),
        ("--storage 100%", "give another --storage, or --tracking-uri sqlite:////"),
        ("--name ../escape", "--name is one folder inside --storage, without / \\ ? # %, given '../escape'"),
        ("--name=", "--name is one folder inside --storage"),
        ("--name ..", "--name is one folder inside --storage"),
        ("--name what?", "--name is one folder inside --storage"),
        ("--seeds 9223372036854775808", "--seeds takes a whole number from 0 to 9223372036854775807, given"),
        ("--tracking-uri http://127.0.0.1:9 --num-images 300", "127.0.0.1:9"),
        ("--tracking-uri mlruns --num-images 300", "sqlite"),
        ("--search optuna", "needs --num-trials"),
        ("--num-trials 3", "belong to --search optuna"),
        ("--search optuna --num-trials 2 --vary rate=1:2", "knows no option 'rate'"),
        ("--search optuna --num-trials 2 --vary learning-rate=2:1", "from small to large"),
        ("--search optuna --num-trials 2 --vary learning-rate", "OPTION=LOW:HIGH"),
        ("--search optuna --num-trials 2 --seeds 5 6 7", "trains every suggestion with one seed, given 3: 5 6 7"),
        ("--num-images 50", "larger than the training set"),
        ("--num-images 300 --address local --num-cpus 2 --cpus-per-worker 3", "2 CPUs"),
        ("--num-images 300 --address 127.0.0.1:9", "no Ray cluster answers at '127.0.0.1:9'"),
        ("--cpus-per-worker 0", "at least 1"),
        ("--address foo", "--address is auto, local or HOST:PORT, given 'foo'"),
        ("--dry-run --address ray://foo", "--address is auto, local or HOST:PORT, given 'ray://foo'"),
        ("--gpus-per-worker -1", "--gpus-per-worker is at least 0"),
        ("--gpus-per-worker nan", "--gpus-per-worker is at least 0"),
        ("--gpus-per-worker 1.5", "above 1 a whole number, given 1.5"),
        ("--dry-run --state-seconds nan", "--state-seconds is at least 0, given nan"),
        ("--state-seconds -1", "--state-seconds is at least 0, given -1"),
        ("--address 1.2.3.4:65536", "--address is auto, local or HOST:PORT, given '1.2.3.4:65536'"),
        ("--tracking-uri sqlite://8", "needs the path of a file, given 'sqlite://8'"),
        ("--epochs 2147483648", "--epochs takes a whole number from 1 to 2147483647, given 2147483648"),
        ("--num-cpus 1000000", "--num-cpus is at least 1 and at most 65536, given 1000000"),
        ("--search optuna --num-trials 10000000", "needs --num-trials N, 1 to 1000000, given 10000000"),
        ("extra", "unknown argument 'extra'"),
    ],
)
def test_bad_input_is_one_line(
    line: str, message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(capsys, *line.split())
    if line.startswith(("--storage", "--name", "--seeds")):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("vary", "message"),
    [
        ("learnin-rate=1:2", "knows no option 'learnin-rate'; did you mean 'learning-rate'?"),
        ("depth=1:2", "knows no option 'depth'; give --depths its values"),
        ("depths=1:2", "it is an axis; give --depths its values"),
        ("learning-rate=0.1:inf", "both finite, given 0.1:inf"),
        ("learning-rate=nan:1", "both finite, given nan:1"),
        ("weight-decay=-1e308:1e308", "both finite"),
        ("learning-rate=-1:0.1", "--learning-rate takes a number above 0, given -1.0"),
        ("momentum=0.5:2", "--momentum takes a number of at least 0 and below 1, given 2.0"),
        ("projector-width=0:64", "--projector-width takes a whole number of at least 1, given 0"),
        ("projector-width=64.5:128", "takes whole numbers, given 64.5:128"),
        ("temperature=0.1:1", "--temperature belongs to method"),
        ("crop-scale=0.1:1", "varies numbers, crop-scale is none"),
        ("precision=0:1", "varies numbers, precision is none"),
        ("augment=0:1", "varies numbers, augment is none"),
        ("method=0:1", "varies numbers, method is none"),
        ("num-images=300:400", "all trials of a sweep have the same images"),
        ("num-workers=1:2", "all trials of a sweep have as many"),
        ("hue=0:0.1 --vary hue=0:0.2", "hue is given twice"),
    ],
)
@pytest.mark.parametrize("more", ["", "--dry-run"])
def test_what_a_search_cannot_vary_is_refused_before_it_starts(
    vary: str, message: str, more: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"--search optuna --num-trials 2 --method vicreg --vary {vary} {more}"
    assert message in refused(capsys, *line.split())


def test_whole_numbers_are_varied_where_an_option_takes_no_others() -> None:
    line = "--search optuna --num-trials 2 --vary projector-width=64:128 --vary num-checkpoints=2:1e1 --vary hue=0:0.5"
    vary = parse(SWEEP, line.split()).vary
    assert vary == {"method.projector_width": (64, 128), "training.num_checkpoints": (2, 10), "views.hue": (0.0, 0.5)}
    assert [type(low) for low, _ in vary.values()] == [int, int, float]


def test_an_option_of_one_of_the_compared_methods_can_be_varied() -> None:
    from sweeps.method import SWEEP as METHOD

    line = "--search optuna --num-trials 2 --methods vicreg simclr --vary temperature=0.1:1"
    assert parse(METHOD, line.split()).vary == {"method.temperature": (0.1, 1.0)}
    with pytest.raises(UserError, match="--temperature"):
        parse(METHOD, line.replace("0.1:1", "0:1").split())


@pytest.mark.parametrize(
    ("idle", "needed", "flag"),
    [
        ("--method swav --queue-start 0.1", "--queue-size 256", "--queue-start"),
        ("--method dcl --weight-sigma 0.3", "--weighted", "--weight-sigma"),
        ("--method swav --crop-split 0.3", "--num-small-crops 2", "--crop-split"),
        ("--method dino --small-crop-size 16", "--num-small-crops 2", "--small-crop-size"),
        ("--method dino --teacher-warmup 0.3", "--teacher-temperature 0.07", "--teacher-warmup"),
        ("--method vicreg --trust-coefficient 0.02", "--optimiser lars --learning-rate 0.3", "--trust-coefficient"),
        ("--blur-sigma 0.5 1", "--blur-probability 0.5", "--blur-sigma"),
        ("--jitter-probability 0 --hue 0.2", "--vary jitter-probability=0:1 --search optuna --num-trials 2", "--hue"),
        ("--search optuna --num-trials 2 --method dcl --vary weight-sigma=0.1:1", "--weighted", "--weight-sigma"),
    ],
)
def test_an_option_that_changes_nothing_is_refused(
    idle: str, needed: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, *idle.split())
    assert f"{flag} has no effect without --" in message
    assert needed.split()[0].replace("--vary", "--jitter-probability") in message
    assert parse(SWEEP, [*idle.split(), *needed.split()])


def test_an_option_that_changes_one_of_the_trials_is_taken() -> None:
    assert parse(METHOD, ["--methods", "byol", "vicreg", "--trust-coefficient", "0.01"])
    with pytest.raises(UserError, match="--trust-coefficient has no effect without --optimiser lars"):
        parse(METHOD, ["--methods", "swav", "vicreg", "--trust-coefficient", "0.01"])
    assert parse(METHOD, ["--methods", "swav", "vicreg", "--crop-split", "0.4", "--num-small-crops", "1"])


def test_presets_and_stored_configurations_may_hold_what_changes_nothing() -> None:
    config = parse(METHOD, ["--methods", "dino", "swav", "dcl"]).base  # the demonstration sets crop_split for all
    assert "method.crop_split" in config.without_effect()
    assert PretrainConfig.from_json(config.to_json()) == config


def test_help_tells_each_methods_own_defaults_and_meanings() -> None:
    parser = Parser(prog="x")
    add_config_flags(parser, PretrainConfig(), set())
    helps = {action.dest: " ".join((action.help or "").split()) for action in parser._actions}
    for path, default in (("optimiser.optimiser", "sgd"), ("optimiser.learning_rate", "0.06")):
        text = helps[path].partition("(default: ")[2]
        own, _, recommended = text.partition("; the method's own: ")
        assert own == default
        for method in plugin_names("ray_ssl.methods"):
            value = getattr(PretrainConfig.from_dict({"method": method}).optimiser, path.rpartition(".")[2])
            shown = {m: v for v, names in re.findall(r"(\S+) \(([^)]*)\)", recommended) for m in names.split(", ")}
            assert shown.get(method, own) == (value if isinstance(value, str) else f"{value:.4g}")
    assert helps["optimiser.momentum"].endswith("(default: 0.9)")  # no method has its own
    momentum = helps["method.teacher_momentum"]
    assert "byol, dino, moco_v3: share of its own weights that the teacher keeps at a step; rises to 1" in momentum
    assert "moco_v2: share of its own weights that the teacher keeps at a step; the same in all" in momentum
    assert "swav: embeddings of earlier images kept; 0: no queue" in helps["method.queue_size"]
    assert helps["backbone.depth"].startswith("res_lh: number of residual blocks, L. vit: number of encoder blocks (")


@given(
    flag=st.sampled_from(sorted(add_config_flags(Parser(prog="x"), PretrainConfig(), set()).values())),
    value=st.one_of(st.text(max_size=8), st.integers(-5, 5).map(str), st.floats().map(str)),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_value_of_any_flag_ends_in_a_traceback(flag: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(UserError):
        try:
            parse(SWEEP, [f"{flag}={value}"])
        except SystemExit as exit_:
            assert exit_.code == EXIT_BAD_INPUT  # noqa: PT017
    capsys.readouterr()


def test_a_parquet_without_labels_and_one_with_a_broken_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"x": np.arange(3)}), tmp_path / "train-0.parquet")
    assert "train-0.parquet" in refused(capsys, "--dataset", f"parquet:{tmp_path}/train-0.parquet")
    (tmp_path / "train-0.parquet").write_bytes(b"no parquet")
    assert "train-0.parquet" in refused(capsys, "--dataset", f"parquet:{tmp_path}/train-0.parquet")


def test_a_trial_that_never_fits_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(UserError, match=r"4 x 2 CPUs .* 2 node\(s\) with 7 CPUs and 0 GPUs hold 3 such worker"):
        capacity(MachineOptions(cpus_per_worker=2), 4, [{"CPU": 4}, {"CPU": 3}])
    room = capacity(MachineOptions(cpus_per_worker=2), 2, [{"CPU": 4}, {"CPU": 5}])
    assert (room.num_concurrent, room.gpus_per_worker) == (2, 0)
    room = capacity(MachineOptions(), 1, [{"CPU": 8, "GPU": 2}, {"CPU": 8}])
    assert (room.num_concurrent, room.gpus_per_worker) == (2, 1)
    assert capacity(MachineOptions(gpus_per_worker=0.5), 1, [{"CPU": 8, "GPU": 2}]).num_concurrent == 4


def test_dry_run_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = "--dry-run --method vicreg --depths 1 --widths 4 --seeds 0 1 --num-images 300 --epochs 2 --projector-width 8"
    assert main(SWEEP, line.split()) == 0
    out = capsys.readouterr().out
    assert out.count(" new ") == 2
    assert "2 trial(s), 2 to run: at most" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("module", ["sweeps.depth_width", "analysis"])
def test_help_reads_well(module: str) -> None:
    environment = {**os.environ, "COLUMNS": "100", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", module, "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert max(map(len, text.splitlines())) <= 100
    assert "default" in text


def test_analysis_refuses_what_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from analysis.__main__ import main as analyse

    for arguments, message in (
        ([str(tmp_path)], "is no sweep folder"),
        ([str(tmp_path / "nowhere")], "there is no folder"),
        ([str(tmp_path), "--metrics", "nccc"], "did you mean 'ncc'?"),
        ([str(tmp_path), "--metric", "ncc"], "did you mean '--metrics'?"),
        (["encoder", "x.pt", "--backbone", "resnet_18"], "did you mean 'resnet18'?"),
        ([str(tmp_path), "--num-train-images", "0"], "at least 1"),
        ([str(tmp_path), "--address", "foo"], "HOST:PORT"),
    ):
        try:
            code = analyse(arguments)
        except SystemExit as exit_:
            code = exit_.code
        assert code == EXIT_BAD_INPUT
        err = capsys.readouterr().err
        assert message in err
        assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("method", plugin_names("ray_ssl.methods"))
def test_the_small_run_takes_every_method(method: str) -> None:
    small_crops = ["--num-small-crops", "2"] if method in ("dino", "swav") else []
    for more in ([], small_crops):
        config = parse(METHOD, ["--methods", method, *more]).base
        config.method.check_fits(config.training.global_batch_size, 4000)
        config.method.check_views(config.views, config.data.image_size)
