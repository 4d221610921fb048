"""DANN of arXiv 1505.07818: the reversal, its schedule, and which labels are seen."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.data.base import UNLABELLED
from ray_ssl.methods.dann import DANN, Config, dann_terms, reversal_schedule, reverse_gradient


def _method(**options: Any) -> DANN:
    torch.manual_seed(0)
    return DANN(Config(domain_width=8, **options), build_backbone(Backbone(depth=1, width=8), 32), 3).double()


def _rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_published_values_are_the_defaults() -> None:
    config = Config()
    assert (config.reversal_steepness, config.reversal_weight, config.domain_width) == (10, 1, 1024)


def test_the_schedule_is_the_papers() -> None:
    shares = [0.0, 0.1, 0.5, 1.0]
    found = reversal_schedule(torch.tensor(shares, dtype=torch.float64), 10.0)
    assert found.tolist() == pytest.approx([2 / (1 + math.exp(-10 * p)) - 1 for p in shares])
    assert found[0] == 0
    assert found[3] == pytest.approx(1, abs=1e-4)


def test_the_reversal_is_the_identity_with_the_opposite_gradient() -> None:
    x = _rows(4, 3).requires_grad_()
    y = reverse_gradient(x, torch.tensor(0.25, dtype=torch.float64))
    assert torch.equal(y, x)
    (gradient,) = torch.autograd.grad((y**3).sum(), x)
    torch.testing.assert_close(gradient, -0.25 * 3 * x.detach() ** 2)


def test_terms_equal_a_naive_loop() -> None:
    logits, domain_logits, labels = _rows(6, 3), _rows(6, seed=1), [2, UNLABELLED, 0, 1, UNLABELLED, UNLABELLED]
    label_loss, domain_loss, right, right_domain = 0.0, 0.0, 0, 0
    for row, d, label in zip(logits.tolist(), domain_logits.tolist(), labels, strict=True):
        of_target = 1 / (1 + math.exp(-d))
        domain_loss -= math.log(of_target if label == UNLABELLED else 1 - of_target)
        right_domain += (of_target > 0.5) == (label == UNLABELLED)
        if label != UNLABELLED:
            label_loss += math.log(sum(map(math.exp, row))) - row[label]
            right += row[label] == max(row)
    terms = dann_terms(logits, domain_logits, torch.tensor(labels))
    expected = {
        "loss": label_loss / 3 + domain_loss / 6, "label_loss": label_loss / 3, "train_accuracy": right / 3,
        "domain_loss": domain_loss / 6, "domain_accuracy": right_domain / 6,
    }  # fmt: skip
    assert {name: term.item() for name, term in terms.items()} == pytest.approx(expected)


def test_the_step_is_that_of_the_saddle_point() -> None:
    """Features descend on the label loss less lambda times the domain loss, both heads on their own losses."""
    method, labels = _method(reversal_weight=0.5), torch.tensor([0, UNLABELLED, 2, UNLABELLED])
    method.after_step({}, 0.1)
    images = _rows(4, 3, 32, 32)
    method([images], labels)[0]["loss"].backward()
    weight = 0.5 * (2 / (1 + math.exp(-1)) - 1)
    found = {name: p.grad for name, p in method.named_parameters()}
    method.zero_grad(set_to_none=True)
    h = method.backbone(images)
    label_loss = nn.functional.cross_entropy(method.head(h)[[0, 2]], labels[[0, 2]])
    domains = (labels < 0).double()
    domain_loss = nn.functional.binary_cross_entropy_with_logits(method.domain_head(h)[:, 0], domains)
    groups = {"backbone": label_loss - weight * domain_loss, "head": label_loss, "domain_head": domain_loss}
    for name, loss in groups.items():
        parameters = {n: p for n, p in method.named_parameters() if n.startswith(f"{name}.")}
        gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            torch.testing.assert_close(found[parameter], gradient)


def test_progress_is_state_and_sets_the_reversal() -> None:
    method = _method()
    labels = torch.tensor([0, UNLABELLED, 1, 2])
    assert method([_rows(4, 3, 32, 32)], labels)[0]["reversal"] == 0
    method.after_step({}, 0.5)
    again = _method()
    again.load_state_dict(method.state_dict())
    assert again([_rows(4, 3, 32, 32)], labels)[0]["reversal"].item() == pytest.approx(2 / (1 + math.exp(-5)) - 1)


@pytest.mark.parametrize("label", [0, UNLABELLED])
def test_a_batch_of_one_domain_is_no_trouble(label: int) -> None:
    terms = dann_terms(_rows(4, 3).requires_grad_(), _rows(4), torch.full((4,), label))
    terms["loss"].backward()
    assert all(term.isfinite() for term in terms.values())
