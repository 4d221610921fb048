"""Without --dataset a cluster with GPUs runs the study of the sweep's example, any other machine the demonstration."""

import pytest

from analysis.flags import encoder_flags
from analysis.graph import command as graph_command
from ray_ssl import capacity
from ray_ssl.capacity import cluster_gpus
from ray_ssl.cluster import MachineOptions, ray_session
from ray_ssl.errors import UserError
from ray_ssl.flags import usual_storage
from sweeps import depth_width, method, randomness, reverse_engineering
from sweeps.cli import Sweep, parse
from sweeps.report import is_demonstration

SWEEPS = [depth_width.SWEEP, method.SWEEP, randomness.SWEEP, reverse_engineering.SWEEP]


def with_gpus(monkeypatch: pytest.MonkeyPatch, number: float) -> None:
    monkeypatch.setattr(capacity, "cluster_gpus", lambda options: number)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_no_arguments_are_the_examples_where_there_are_gpus(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gpus(monkeypatch, 16)
    study = parse(sweep, [])
    line = f"no --dataset given, and the cluster has 16 GPU(s): the study {sweep.example}\n"
    assert capsys.readouterr().out == line
    typed = parse(sweep, sweep.example.split())
    assert capsys.readouterr().out == ""
    assert study == typed
    assert study.base.data.dataset == "cifar100" and study.base.training.epochs == 100
    assert not is_demonstration(study)
    with_gpus(monkeypatch, 0)
    small = parse(sweep, [])
    assert capsys.readouterr().out == ""
    assert is_demonstration(small)


def test_the_study_can_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, 1)
    request = parse(depth_width.SWEEP, ["--depths", "3", "--epochs", "7"])
    assert request.grid.axes == {"backbone.depth": (3,), "backbone.width": (32, 64), "seed": (0, 1, 2)}
    assert (request.base.training.epochs, request.base.data.dataset) == (7, "cifar100")
    assert parse(depth_width.SWEEP, ["--dataset", "shapes"]).base.data.dataset == "shapes"


def test_this_machine_is_no_cluster() -> None:
    assert cluster_gpus(MachineOptions("local")) == 0


def test_a_cluster_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        parse(depth_width.SWEEP, ["--address", "127.0.0.1:1"])


@pytest.mark.parametrize("error", [Exception("The current node timed out\nduring startup"), TimeoutError()])
def test_a_ray_that_does_not_start_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def init(**options: object) -> None:
        raise error

    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.init", init)
    said = (
        r"Ray does not start on this machine: (The current node timed out|TimeoutError); if the machine was only busy, "
        r"run the same command again; it needs 0\.54 GB"
    )
    with pytest.raises(UserError, match=said) as caught, ray_session(MachineOptions("local"), 0, nested_train=False):
        pytest.fail("Ray is there")
    assert "\n" not in str(caught.value)


def test_results_go_where_the_cluster_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parse(depth_width.SWEEP, []).storage == "results"
    assert usual_storage("graph-x") == "results/graph-x" and graph_command.parse([]).storage is None
    monkeypatch.setenv("RAY_SSL_STORAGE", "s3://bucket/ray_ssl?region=us-east-1")
    assert parse(depth_width.SWEEP, []).storage == "s3://bucket/ray_ssl?region=us-east-1"
    assert parse(depth_width.SWEEP, ["--storage", "here"]).storage == "here"
    assert usual_storage("graph-x") == "s3://bucket/ray_ssl/graph-x?region=us-east-1"
    assert encoder_flags(["torchvision:resnet18"]).storage == "s3://bucket/ray_ssl/encoders?region=us-east-1"
