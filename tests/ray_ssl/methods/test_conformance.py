"""Every method found in `ray_ssl.methods` keeps the contract of `ray_ssl.methods.base`."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from analysis.needs import is_self_supervised
from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import MethodConfig, PretrainConfig, ViewConfig
from ray_ssl.data.base import UNLABELLED
from ray_ssl.distributed import synchronise_batch_norm, wrap_ddp
from ray_ssl.methods.base import Method, ViewPlan, build_method
from ray_ssl.plugins import plugin_module, plugin_names
from tests.ray_ssl.small_methods import small_variants
from tests.ray_ssl.two_workers import run_on_two_workers, shard

NAMES = plugin_names("ray_ssl.methods")
NUM_CLASSES = 5
BATCH_SIZE = 12
CPU = torch.device("cpu")


CONFIGS: dict[str, MethodConfig] = {
    title: plugin_module("ray_ssl.methods", options["name"]).Config(**options)
    for title, options in small_variants(BATCH_SIZE).items()
}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def _build(config: MethodConfig, dtype: torch.dtype = torch.float64, seed: int = 0) -> Method:
    torch.manual_seed(seed)
    return build_method(config, build_backbone(Backbone(depth=1, width=8), 32), NUM_CLASSES).to(dtype)


def _batch(method: Method, step: int = 0, dtype: torch.dtype = torch.float64) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(step)
    images = torch.rand(BATCH_SIZE, 3, 64, 64, dtype=dtype, generator=generator)
    sizes = [plan.size for plan in method.views(ViewConfig(), 32)]
    noise = [torch.rand(BATCH_SIZE, 3, size, size, dtype=dtype, generator=generator) for size in sizes]
    views = [images[:, :, :s, :s] + 0.2 * n for s, n in zip(sizes, noise, strict=True)]
    labels = torch.randint(NUM_CLASSES, (BATCH_SIZE,), generator=generator)
    if method.config.LEARNS_FROM == "domains":
        labels[step % 2 :: 3] = UNLABELLED
    return views, labels


def _train(method: Method, steps: range) -> list[dict[str, Any]]:
    """Trains on this worker's shard; returns the terms, gradients and state of every step."""
    ddp = wrap_ddp(synchronise_batch_norm(method), CPU)
    trained = {name: p for name, p in method.named_parameters() if p.requires_grad}
    optimiser = torch.optim.SGD(trained.values(), lr=0.01)
    history = []
    for step in steps:
        views, labels = _batch(method, step)
        terms, outputs = ddp([shard(view) for view in views], shard(labels))
        optimiser.zero_grad()
        terms["loss"].backward()
        gradients = {name: p.grad.clone() for name, p in trained.items() if p.grad is not None}
        optimiser.step()
        with torch.no_grad():
            method.after_step(outputs, (step + 1) / steps.stop)
        state = {name: tensor.clone() for name, tensor in method.state_dict().items()}
        history.append({"terms": {n: t.detach() for n, t in terms.items()}, "gradients": gradients, "state": state})
    return history


def _train_from_scratch(config: MethodConfig) -> list[dict[str, Any]]:
    return _train(_build(config), range(2))


@each_config
def test_config_round_trips_and_every_option_is_explained(config: MethodConfig) -> None:
    again = PretrainConfig.from_json(PretrainConfig(method=config).to_json()).method
    assert type(again) is type(config)
    assert again == config
    assert all(field.description for key, field in type(config).model_fields.items() if key != "name")
    assert type(config).__doc__
    assert config.name in NAMES


@each_config
def test_views_are_sized_and_embeddings_have_one_row_an_image(config: MethodConfig) -> None:
    method = _build(config)
    plans = method.views(ViewConfig(), 32)
    assert plans
    assert all(isinstance(p, ViewPlan) and 8 <= p.size <= 32 for p in plans)
    outputs = method.embed(*_batch(method))
    assert outputs["z"].ndim == 2
    assert outputs["z"].is_floating_point()
    assert {len(tensor) for tensor in outputs.values()} == {BATCH_SIZE}


@each_config
def test_terms_are_finite_scalars_whose_parts_add_up(config: MethodConfig) -> None:
    method = _build(config)
    terms, outputs = method(*_batch(method))
    assert terms["loss"].requires_grad
    assert not any(tensor.requires_grad for tensor in outputs.values())
    assert all(term.ndim == 0 and term.isfinite() for term in terms.values())
    assert ("invariance" in terms) == ("regularisation" in terms)
    if "invariance" in terms:
        torch.testing.assert_close(terms["loss"], terms["invariance"] + terms["regularisation"])


@each_config
def test_terms_change_no_state(config: MethodConfig) -> None:
    method = _build(config)
    outputs = {name: tensor.detach() for name, tensor in method.embed(*_batch(method)).items()}
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    torch.testing.assert_close(method.terms(outputs), method.terms(outputs), rtol=0, atol=0)
    torch.testing.assert_close(method.state_dict(), before, rtol=0, atol=0)


@each_config
def test_every_trained_parameter_gets_a_gradient(config: MethodConfig) -> None:
    gradients = _train_from_scratch(config)[0]["gradients"]
    assert set(gradients) == {name for name, p in _build(config).named_parameters() if p.requires_grad}
    assert any(g.any() for name, g in gradients.items() if name.startswith("backbone."))


@each_config
def test_training_is_a_function_of_state_and_batch(config: MethodConfig) -> None:
    """Loading the state after one step into another method continues to the same second step, bit by bit."""
    first, second = _train_from_scratch(config)
    resumed = _build(config, seed=1)
    resumed.load_state_dict(first["state"])
    torch.manual_seed(2)
    torch.testing.assert_close(_train(resumed, range(1, 2))[0], second, rtol=0, atol=0)


@each_config
def test_two_workers_equal_one(config: MethodConfig) -> None:
    """Different shards: loss, gradients and every buffer of two steps are those of the whole batch."""
    whole = _train_from_scratch(config)
    for worker in run_on_two_workers(_train_from_scratch, config):
        torch.testing.assert_close(worker, whole, rtol=1e-6, atol=1e-9)


@each_config
def test_losses_are_computed_in_fp32_under_autocast(config: MethodConfig) -> None:
    method = _build(config, torch.float32)
    batch = _batch(method, dtype=torch.float32)
    exact = {name: term.item() for name, term in method(*batch)[0].items()}
    with torch.autocast("cpu", torch.bfloat16):
        terms, _ = method(*batch)
    assert all(term.dtype == torch.float32 for term in terms.values())
    largest = max(map(abs, exact.values()))  # a loss may be the small difference of two large terms
    assert terms["loss"].item() == pytest.approx(exact["loss"], abs=0.05 * largest)


@pytest.mark.parametrize("name", [name for name in NAMES if CONFIGS[name].LEARNS_FROM == "images"])
def test_self_supervised_methods_do_not_look_at_labels(name: str) -> None:
    method = _build(CONFIGS[name])
    views, labels = _batch(method)
    losses = [method(views, shown)[0]["loss"] for shown in (labels, labels.flip(0) * 0)]
    assert torch.equal(losses[0], losses[1])


def test_what_learns_labels_says_so() -> None:
    """By name, so that figures, which import no method, know it too."""
    labelled = {name for name in NAMES if CONFIGS[name].LEARNS_FROM != "images"}
    assert labelled == {name for name in NAMES if not is_self_supervised(name)}
