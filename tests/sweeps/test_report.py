"""The demonstration is called one only where it is, and what is suggested next fits what was run."""

import pytest

from sweeps import depth_width, method
from sweeps.cli import Sweep, parse
from sweeps.report import is_demonstration, next_steps


@pytest.mark.parametrize("sweep", [depth_width.SWEEP, method.SWEEP])
def test_the_demonstration_is_the_sweep_without_options(sweep: Sweep) -> None:
    for line in ("", "--storage elsewhere --num-cpus 1 --tracking-uri http://x --name y"):
        request = parse(sweep, line.split())
        assert is_demonstration(request)
        assert next_steps(request) == [f"python sweeps/{sweep.name}.py {sweep.example}"]
    for line in ("--epochs 3", "--seeds 0 1", "--num-images 300", "--dataset shapes", "--dataset cifar10", "--hue 0"):
        assert not is_demonstration(parse(sweep, line.split()))


@pytest.mark.parametrize(
    ("line", "steps"),
    [
        ("--depths 1", ["--dataset cifar100: real images", "--seeds 0 1 2: how much of it is chance"]),
        ("--depths 1 --seeds 4", ["--dataset cifar100: real images", "--seeds 4 5 6: how much of it is chance"]),
        ("--epochs 2 --seeds 0 1", ["--dataset cifar100: real images"]),
        ("--shapes-domain sketch", ["--seeds 0 1 2: how much of it is chance"]),
        ("--dataset cifar10", ["--seeds 0 1 2: how much of it is chance"]),
        ("--dataset cifar10 --seeds 0 1 2", []),
        ("--dataset cifar10 --search optuna --num-trials 8", ["--num-trials 16: more suggestions"]),
    ],
)
def test_what_is_suggested_next(line: str, steps: list[str]) -> None:
    request = parse(depth_width.SWEEP, line.split())
    assert next_steps(request) == [f"the same line with {step}" for step in steps]


def test_trials_that_were_stopped_early_can_be_finished() -> None:
    line = "--dataset cifar10 --seeds 0 1 --scheduler asha"
    request = parse(depth_width.SWEEP, line.split())
    assert next_steps(request) == ["the same line without --scheduler: trains what was stopped early to its last epoch"]


def test_a_swept_option_has_one_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(method.SWEEP, ["--method", "simclr"])
    assert "did you mean '--methods'?" in capsys.readouterr().err
