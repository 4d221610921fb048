"""Shared by all tests: quiet, offline, and small."""

import os

import pytest

os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole sweeps and faults first: they take longest, and the last file of a run has a worker for itself.

    Only with xdist's --no-loadscope-reorder (see pyproject.toml): else files of many tests come first, and these last.
    """
    items.sort(key=lambda item: not any(f"tests/{room}/" in item.nodeid for room in ("sweeps", "faults")))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """An earlier test may have left more (numba does); with two, whose cores others use, small tensors take ten times
    as long.
    """
    torch.set_num_threads(1)
