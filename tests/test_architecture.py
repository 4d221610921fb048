"""Rules of the house: imports point one way, and what knows Ray or MLflow is few."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {"ray_ssl": set(), "analysis": {"ray_ssl"}, "sweeps": {"ray_ssl", "analysis"}}
KNOWS = {
    "ray": {
        "ray_ssl/cluster.py", "ray_ssl/launch.py", "ray_ssl/node_choice.py", "ray_ssl/ray_reader.py",
        "ray_ssl/trial.py",
        "analysis/actors.py", "analysis/pipeline.py",
        "sweeps/run.py",
    },
    "mlflow": {"ray_ssl/mlflow_client.py", "ray_ssl/mlflow_store.py", "ray_ssl/tracking.py"},
    "optuna": {"ray_ssl/search.py", "sweeps/run.py"},
    "matplotlib": {"analysis/figures"},
}  # fmt: skip


def sources() -> list[Path]:
    return [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    assert imports(path) & set(ROOMS) <= ROOMS[room] | {room}


@pytest.mark.parametrize("package", KNOWS)
def test_few_rooms_know(package: str) -> None:
    knowing = {str(path.relative_to(ROOT)) for path in sources() if package in imports(path)}
    assert all(any(name.startswith(room) for room in KNOWS[package]) for name in knowing), knowing


def test_training_and_figures_know_neither_ray_nor_each_other() -> None:
    for name in ("pretrain.py", "trainer.py", "batches.py", "data/streamed.py"):
        assert not imports(ROOT / "ray_ssl" / name) & {"ray", "mlflow", "optuna"}
    for path in (ROOT / "analysis/figures").rglob("*.py"):
        assert not imports(path) & {"torch", "ray"}, path


def test_nothing_is_unpickled() -> None:
    for path in sources():
        text = path.read_text()
        assert "pickle.load" not in text
        assert "torch.load" not in text or "weights_only=True" in text, path
