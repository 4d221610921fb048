"""Self-training as in FixMatch, arXiv 2001.07685: which guesses count, what is learned on which view."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import ViewConfig
from ray_ssl.data.base import UNLABELLED
from ray_ssl.methods.self_training import Config, SelfTraining, self_training_terms

LABELS = torch.tensor([2, UNLABELLED, 0, UNLABELLED, UNLABELLED, 1])


def _logits(seed: int) -> Tensor:
    return 2 * torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_published_values_are_the_defaults() -> None:
    assert (Config().confidence, Config().guess_weight) == (0.95, 1)


@pytest.mark.parametrize("confidence", [0.0, 0.7, 1.0])
def test_equals_a_naive_loop(confidence: float) -> None:
    label_loss, guess_loss, num_guessed, right = 0.0, 0.0, 0, 0
    for weak, strong, label in zip(_logits(0).tolist(), _logits(1).tolist(), LABELS.tolist(), strict=True):
        shares = [math.exp(x) / sum(map(math.exp, weak)) for x in weak]
        if label != UNLABELLED:
            label_loss -= math.log(shares[label])
            right += shares[label] == max(shares)
        elif max(shares) >= confidence:
            num_guessed += 1
            guess = shares.index(max(shares))
            guess_loss -= math.log(math.exp(strong[guess]) / sum(map(math.exp, strong)))
    terms = self_training_terms(_logits(0), _logits(1), LABELS, confidence, 0.5)
    expected = {
        "loss": label_loss / 3 + 0.5 * guess_loss / 3, "label_loss": label_loss / 3, "train_accuracy": right / 3,
        "guess_loss": guess_loss / 3, "guessed": num_guessed / 3,
    }  # fmt: skip
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)
    assert num_guessed == {0.0: 3, 0.7: 2, 1.0: 0}[confidence]


def test_no_gradient_reaches_the_guesses() -> None:
    weak, strong = _logits(0).requires_grad_(), _logits(1).requires_grad_()
    self_training_terms(weak, strong, LABELS, 0.0, 1.0)["loss"].backward()
    assert weak.grad is not None
    assert strong.grad is not None
    is_other = LABELS < 0
    assert not weak.grad[is_other].any()
    assert weak.grad[~is_other].any(1).all()
    assert not strong.grad[~is_other].any()
    assert strong.grad[is_other].any(1).all()


def test_the_weak_view_moves_and_flips_alone() -> None:
    method = SelfTraining(Config(), build_backbone(Backbone(depth=1, width=4), 32), 3)
    strong = ViewConfig(blur_probability=0.5, solarise_probability=0.1, flip_probability=0.25)
    weak, other = method.views(strong, 32)
    assert (other.config, weak.size, other.size) == (strong, 32, 32)
    assert weak.config is not None
    assert weak.config.flip_probability == 0.25
    assert weak.config.crop_scale == (0.875**2, 1)
    probabilities = ("jitter_probability", "grey_probability", "blur_probability", "solarise_probability")
    assert [getattr(weak.config, name) for name in probabilities] == [0] * 4


@pytest.mark.parametrize("label", [0, UNLABELLED])
def test_a_batch_of_one_domain_is_no_trouble(label: int) -> None:
    logits, strong = _logits(0).requires_grad_(), _logits(1).requires_grad_()
    terms = self_training_terms(logits, strong, torch.full((6,), label), 0.5, 1.0)
    terms["loss"].backward()
    assert all(term.isfinite() for term in terms.values())
