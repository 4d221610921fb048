"""What is measured all the same, and is not as it should be, is said by the command."""

import json
import warnings
from pathlib import Path
from typing import Any

import torch

from analysis.actors import Actor
from analysis.pipeline import Outcome, warning_lines
from analysis.saturation import SaturatedWarning
from analysis.threads import in_threads
from analysis.warned import recorded


def test_warnings_of_all_threads_are_recorded_once() -> None:
    def measure(layer: int) -> None:
        warnings.warn(f"probe of layer {layer // 2} did not converge", RuntimeWarning, stacklevel=1)
        warnings.warn("at its ceiling", SaturatedWarning, stacklevel=1)
        warnings.warn("an older way of a library", DeprecationWarning, stacklevel=1)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    with recorded() as warned:
        in_threads(measure, range(4))
    torch.set_num_threads(before)
    assert sorted(warned) == [f"probe of layer {layer} did not converge" for layer in (0, 1)]


def test_an_actor_answers_with_its_warnings_also_where_it_fails(tmp_path: Path) -> None:
    class Warning_(Actor):
        def __init__(self) -> None:
            pass

        def _answer(self, key: str, epoch: int, row: dict[str, Any]) -> Any:
            warnings.warn(f"few pairs at epoch {epoch}", RuntimeWarning, stacklevel=1)
            if epoch:
                raise ValueError("features are not finite")
            return "found"

    rows = [Warning_()({"key": "0" * 16, "epoch": epoch}) for epoch in (0, 1)]
    assert [(row["found"], row["error"]) for row in rows] == [
        ("found", ""), (None, "ValueError: features are not finite")
    ]  # fmt: skip
    assert [json.loads(row["warned"]) for row in rows] == [[f"few pairs at epoch {epoch}"] for epoch in (0, 1)]


def test_a_line_for_each_kind_of_warning() -> None:
    outcomes = [
        Outcome("a" * 16, epoch, "", warned=(f"gradient norm {epoch}.5e-03, wanted 3e-04", "too few pairs"))
        for epoch in (1, 2, 4)
    ] + [Outcome("b" * 16, 1, "")]
    assert warning_lines(outcomes, {"a" * 16: "vicreg"}) == [
        f"vicreg ({'a' * 16}), epoch 1: gradient norm 1.5e-03, wanted 3e-04 (and 2 like it)",
        f"vicreg ({'a' * 16}), epoch 1: too few pairs (and 2 like it)",
    ]
