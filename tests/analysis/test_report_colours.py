"""The colours of the report's chart: told apart with normal and with colour-blind eyes, on light and on dark paper."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import analysis.report

STYLE = (Path(analysis.report.__file__).parent / "style.css").read_text()
EYES = {  # Machado, Oliveira and Fernandes 2009, severity 1, of linear RGB
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])


def linear(colour: str) -> NDArray[np.float64]:
    """Linear RGB of #rgb or #rrggbb, 0..1."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    values = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear RGB, D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], LUMINANCE, [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_any_two_of_them_are_told_apart_and_stand_out_from_the_paper(scheme: str) -> None:
    part = STYLE.partition("prefers-color-scheme: dark")[0 if scheme == "light" else 2]
    found = dict(re.findall(r"--(c\d|paper): (#\w+);", part))
    paper = linear(found.pop("paper")) @ LUMINANCE
    assert len(found) == 8
    for colour in found.values():
        bright, dim = sorted([linear(colour) @ LUMINANCE, paper], reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 3, colour  # WCAG 2.1, 1.4.11
    for eyes, matrix in EYES.items():
        for one, other in combinations(found.values(), 2):
            seen = [lab(np.array(matrix) @ linear(colour)) for colour in (one, other)]
            assert np.linalg.norm(seen[0] - seen[1]) > 15, (eyes, one, other)  # CIE76; 2.3 is just noticed
