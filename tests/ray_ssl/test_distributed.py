"""Two workers with different shards compute what one worker with the whole batch computes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ray_ssl.distributed import AnyWorker, gather, synchronise_batch_norm, world, wrap_ddp
from tests.ray_ssl.two_workers import run_on_two_workers, shard

CPU = torch.device("cpu")


def test_one_process_is_the_identity() -> None:
    tensor = torch.rand(3, 2, requires_grad=True)
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert world() == (0, 1)
    assert gather(tensor) is tensor
    assert synchronise_batch_norm(module) is module
    assert type(module[1]) is nn.BatchNorm1d
    assert wrap_ddp(module, CPU) is module


def test_workers_know_their_place() -> None:
    assert run_on_two_workers(world) == [(0, 2), (1, 2)]


def _ask_four_times() -> list[bool]:
    any_worker = AnyWorker(CPU)
    return [any_worker(number == 1 and world().rank == 1) for number in range(4)]


def test_all_hear_one_question_later_what_any_worker_said() -> None:
    assert _ask_four_times() == [False] * 4
    assert run_on_two_workers(_ask_four_times) == [[False, False, True, False]] * 2


# --- gather ---


def _gather_shard(whole: Tensor) -> Tensor:
    return gather(shard(whole))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(6,), (6, 3), (6, 2, 3)])
def test_gather_concatenates_in_rank_order(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    whole = (torch.rand(shape) * 9).to(dtype)
    for gathered in run_on_two_workers(_gather_shard, whole):
        assert gathered.dtype == dtype
        assert torch.equal(gathered, whole)


def test_gather_takes_strided_rows() -> None:
    whole = torch.rand(3, 8).T
    assert not whole.is_contiguous()
    for gathered in run_on_two_workers(_gather_shard, whole):
        assert torch.equal(gathered, whole)


class _Regression(nn.Module):
    """A loss that couples all rows, with a parameter before and one after the gathering."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.before = nn.Parameter(torch.randn(3, 4, dtype=torch.float64, generator=generator))
        self.after = nn.Parameter(torch.randn(4, dtype=torch.float64, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        z = gather((x @ self.before).tanh())
        return (z @ z.T).exp().mean() + (z @ self.after).square().sum()


def _regression_gradients(whole: Tensor) -> dict[str, Tensor]:
    module = _Regression()
    ddp = wrap_ddp(module, CPU)  # kept: its hooks die with it
    loss = ddp(shard(whole))
    loss.backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), **gradients}


def test_gradients_equal_one_process_before_and_after_gathering() -> None:
    whole = torch.randn(8, 3, dtype=torch.float64)
    expected = _regression_gradients(whole)
    assert expected.keys() == {"loss", "before", "after"}
    for found in run_on_two_workers(_regression_gradients, whole):
        torch.testing.assert_close(found, expected)


class _Rank(nn.Module):
    """A parameter and a buffer that differ between workers when they are built."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((2,), float(world().rank)))
        self.register_buffer("state", torch.full((2,), float(world().rank)))

    def forward(self, x: Tensor) -> Tensor:
        return (x * self.weight).sum()


def _ddp_state() -> list[list[float]]:
    ddp = wrap_ddp(_Rank(), CPU)
    state = [tensor.tolist() for tensor in ddp.state_dict().values()]
    dict(ddp.named_buffers())["module.state"].fill_(world().rank + 5)
    ddp(torch.ones(2)).backward()
    return [*state, *(tensor.tolist() for tensor in ddp.buffers())]


def test_ddp_starts_from_rank_0_and_never_broadcasts_again() -> None:
    assert run_on_two_workers(_ddp_state) == [[[0, 0], [0, 0], [5, 5]], [[0, 0], [0, 0], [6, 6]]]


# --- synchronised batch norm ---

BATCH_NORMS: dict[str, tuple[type[nn.Module], dict[str, Any], tuple[int, ...]]] = {
    "1d": (nn.BatchNorm1d, {}, (8, 3)),
    "1d over length": (nn.BatchNorm1d, {}, (8, 3, 5)),
    "2d": (nn.BatchNorm2d, {}, (8, 3, 4, 4)),
    "3d": (nn.BatchNorm3d, {}, (8, 3, 2, 2, 2)),
    "momentum and eps": (nn.BatchNorm2d, {"momentum": 0.3, "eps": 0.1}, (8, 3, 4, 4)),
    "cumulative average": (nn.BatchNorm2d, {"momentum": None}, (8, 3, 4, 4)),
    "not affine": (nn.BatchNorm1d, {"affine": False}, (8, 3)),
    "no running statistics": (nn.BatchNorm1d, {"track_running_stats": False}, (8, 3)),
}


def _norm_steps(kind: str, batches: list[Tensor], rows: slice | None, autocast: bool = False) -> dict[str, Any]:
    """Two training steps of one norm on `rows` of each batch (None: on this worker's share)."""
    norm_type, options, _ = BATCH_NORMS[kind]
    norm = norm_type(3, **options)
    if options.get("affine", True):
        torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[arg-type]
        torch.nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(2))  # type: ignore[arg-type]
    model = synchronise_batch_norm(nn.Sequential(norm.to(batches[0].dtype if not autocast else torch.float32)))
    found: dict[str, Any] = {"y": [], "dx": []}
    for batch in batches:
        x = (shard(batch) if rows is None else batch[rows]).detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            y = model(x)
        y.square().mul(torch.arange(3.0).view(1, 3, *[1] * (x.ndim - 2)) + x.detach()).sum().backward()
        found["y"].append(y.detach())
        found["dx"].append(x.grad)
    found["dparameters"] = {name: p.grad for name, p in model.named_parameters()}
    found["state"] = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return found


def _evaluate_on_rank_0(kind: str, batch: Tensor) -> Tensor | None:
    """One worker evaluates alone: with a collective in it this would wait until gloo gives up."""
    model = synchronise_batch_norm(nn.Sequential(BATCH_NORMS[kind][0](3, **BATCH_NORMS[kind][1]).to(batch.dtype)))
    model(shard(batch))
    return model.eval()(batch).detach() if world().rank == 0 else None


def _norm_steps_unequal(kind: str, batches: list[Tensor]) -> dict[str, Any]:
    return _norm_steps(kind, batches, slice(0, 3) if world().rank == 0 else slice(3, None))


def _batches(kind: str, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(3)
    shape = BATCH_NORMS[kind][2]
    return [torch.randn(shape, dtype=torch.float64, generator=generator).mul(2).add(1).to(dtype) for _ in range(2)]


def _assert_equal_to_whole(workers: list[dict[str, Any]], whole: dict[str, Any], **tolerance: Any) -> None:
    for i, dx in enumerate(whole["dx"]):
        torch.testing.assert_close(torch.cat([w["dx"][i] for w in workers]), dx, **tolerance)
        torch.testing.assert_close(torch.cat([w["y"][i] for w in workers]), whole["y"][i], **tolerance)
    for name, gradient in whole["dparameters"].items():
        torch.testing.assert_close(sum(w["dparameters"][name] for w in workers), gradient, **tolerance)
    for worker in workers:
        assert list(worker["state"]) == list(whole["state"])
        torch.testing.assert_close(worker["state"], whole["state"], **tolerance)


@pytest.mark.parametrize("kind", BATCH_NORMS)
def test_batch_norm_equals_the_whole_batch(kind: str) -> None:
    batches = _batches(kind, torch.float64)
    whole = _norm_steps(kind, batches, slice(None))
    workers = run_on_two_workers(_norm_steps, kind, batches, None)
    _assert_equal_to_whole(workers, whole)
    evaluated = run_on_two_workers(_evaluate_on_rank_0, kind, batches[0])[0]
    torch.testing.assert_close(evaluated, _evaluate_on_rank_0(kind, batches[0]))


def test_batch_norm_with_unequal_shards() -> None:
    batches = _batches("2d", torch.float64)
    workers = run_on_two_workers(_norm_steps_unequal, "2d", batches)
    assert [len(w["dx"][0]) for w in workers] == [3, 5]
    _assert_equal_to_whole(workers, _norm_steps("2d", batches, slice(None)))


def test_batch_norm_in_channels_last() -> None:
    batches = [b.to(memory_format=torch.channels_last) for b in _batches("2d", torch.float32)]
    workers = run_on_two_workers(_norm_steps, "2d", batches, None)
    assert workers[0]["y"][0].is_contiguous(memory_format=torch.channels_last)
    _assert_equal_to_whole(workers, _norm_steps("2d", batches, slice(None)), rtol=1e-4, atol=1e-4)


def test_batch_norm_under_autocast_keeps_fp32_statistics() -> None:
    batches = _batches("2d", torch.bfloat16)
    workers = run_on_two_workers(_norm_steps, "2d", batches, None, True)
    exact = _norm_steps("2d", [b.double() for b in batches], slice(None))
    for worker in workers:
        assert worker["y"][0].dtype == torch.bfloat16
        for name in ("0.running_mean", "0.running_var"):
            assert worker["state"][name].dtype == torch.float32
            torch.testing.assert_close(worker["state"][name].double(), exact["state"][name], rtol=1e-5, atol=1e-5)
    found = torch.cat([w["dx"][0] for w in workers]).double()
    assert (found - exact["dx"][0]).norm() < 0.02 * exact["dx"][0].norm()


def test_batch_norm_does_not_cancel_under_a_large_mean() -> None:
    batches = [b.double().add(1e4).float() for b in _batches("2d", torch.float64)]
    exact = _norm_steps("2d", [b.double() for b in batches], slice(None))
    for worker in run_on_two_workers(_norm_steps, "2d", batches, None):
        variance = worker["state"]["0.running_var"].double()
        torch.testing.assert_close(variance, exact["state"]["0.running_var"], rtol=1e-4, atol=0)


def _expanded_gradient(whole: Tensor) -> Tensor:
    x = shard(whole).detach().requires_grad_()
    synchronise_batch_norm(nn.Sequential(nn.BatchNorm2d(3).double(), nn.ReLU()))(x).mean((2, 3)).sum().backward()
    assert x.grad is not None
    return x.grad


def test_batch_norm_takes_an_expanded_gradient() -> None:
    whole = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(torch.cat(run_on_two_workers(_expanded_gradient, whole)), _expanded_gradient(whole))


class _Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.stack = nn.Sequential(nn.Linear(3, 3), nn.Sequential(self.norm))


def _conversion() -> dict[str, Any]:
    model = _Shared().eval()
    parameters, names = set(map(id, model.parameters())), list(model.state_dict())
    converted = synchronise_batch_norm(model)
    root = synchronise_batch_norm(nn.BatchNorm2d(3))
    return {
        "same parameters": set(map(id, converted.parameters())) == parameters,
        "same names": list(converted.state_dict()) == names,
        "mode kept": not any(m.training for m in converted.modules()),
        "none left": not any(type(m) is nn.BatchNorm1d for m in converted.modules()),
        "root": type(root) is not nn.BatchNorm2d,
        "loads": str(nn.BatchNorm2d(3).load_state_dict(root.state_dict())),
    }


def test_conversion_keeps_parameters_names_and_mode() -> None:
    for facts in run_on_two_workers(_conversion):
        assert facts.pop("loads") == "<All keys matched successfully>"
        assert all(facts.values()), facts
