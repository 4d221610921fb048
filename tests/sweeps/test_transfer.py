"""What the sweep on transfer trains, before anything is trained; the training is every sweep's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import sweeps.run
from sweeps.cli import Request, main
from sweeps.transfer import SWEEP

LINE = ["--epochs", "2", "--num-images", "80", "--num-test-images", "40"]
EVERY = {"vicreg (source + target)", "vicreg (source)", "supervised (source)", "dann (source + target)"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Request]:
    """Returns what would have run."""
    requests: list[Request] = []

    def note(request: Request) -> int:
        requests.append(request)
        return 0

    def ask(*arguments: str) -> Request:
        assert main(SWEEP, [*LINE, *arguments]) == 0
        return requests[-1]

    monkeypatch.setattr(sweeps.run, "run", note)
    return ask


def trained(request: Request) -> list[str]:
    return [config.method.name + config.variant for config in request.grid.configs()]


def test_pretraining_on_both_domains_is_compared_with_the_source_alone_and_with_labels(
    asked: Callable[..., Request],
) -> None:
    request = asked("--seeds", "0", "1")
    assert sorted(trained(request)) == sorted(2 * [*EVERY, "self_training (source + target)"])
    assert {"transfer@domains", "domain_distance@domains", "linear_probe"} <= set(request.tasks)
    budgets = {(c.training.epochs, c.training.global_batch_size, c.backbone) for c in request.grid.configs()}
    assert len(budgets) == 1


def test_extra_images_are_one_more_pretraining_and_one_more_self_training(asked: Callable[..., Request]) -> None:
    found = trained(asked("--shift", "domains", "--num-extra", "40", "--baselines", "dann", "self_training"))
    assert sorted(found) == [
        "dann (source + target)", "self_training (source + target + extra)", "self_training (source + target)",
        "vicreg (source + target + extra)", "vicreg (source + target)",
        "vicreg (source)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--baselines", "foo"], "there is no 'foo'; known: dann, self_training, supervised"),
        (["--train-domains", "source"], "sets --train-domains itself"),
        (["--dataset", "cifar10", "--shift", ""], "give a --shift, e.g. --shift subpopulations"),
        (["--search", "optuna", "--vary", "learning-rate=0.01:0.1", "--num-trials", "2"], "it takes no --search"),
    ],
)
def test_what_cannot_be_is_one_line(
    arguments: list[str], words: str, asked: Callable[..., Request], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SWEEP, [*LINE, *arguments]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_help_says_which_shift_is_taken_with_and_without_data(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(SWEEP, ["--help"])
    words = " ".join(capsys.readouterr().out.split())
    assert "(default: none; with --dataset: subpopulations; without --dataset: blur:0.5)" in words
    assert "--train-domains" not in words
