"""The small set of every fault; `python -m tests.faults --full` runs all of its cases."""

import pytest

from tests.faults.counts import faults

FAULTS = faults()


@pytest.mark.parametrize("letter", FAULTS)
def test_what_is_promised_holds(letter: str) -> None:
    counts = FAULTS[letter].run(False, 0)
    assert counts.violations == []
    assert counts.cases > 0
