"""Every view by loops over pixels; the graph of them whatever the order of the images."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from analysis.graph import ViewFamily, build
from analysis.graph.views import node_pictures
from ray_ssl.errors import UserError

FAMILY = ViewFamily(crop_sizes=(6, 7), num_shifts=2, resolution=2, num_levels=3)
FAMILIES = {
    "default": FAMILY,
    "levels of the whole range": ViewFamily((6,), 3, False, 3, 4, stretch=False),
    "colour": ViewFamily((8,), 1, True, 1, 5, stretch=False, colour=True),
}


def images(count: int = 30, size: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def naive_view(image: np.ndarray, top: int, left: int, size: int, mirrored: bool, family: ViewFamily) -> tuple:
    cuts = [round(size * i / family.resolution) for i in range(family.resolution + 1)]
    cells = []
    for y0, y1 in pairwise(cuts):
        for x0, x1 in pairwise(cuts):
            crop = image[top + y0 : top + y1, left + x0 : left + x1].reshape(-1, 3).astype(int).tolist()
            means = [1000 * sum(pixel[c] for pixel in crop) // len(crop) for c in range(3)]
            luma = sum(299 * r + 587 * g + 114 * b for r, g, b in crop) // len(crop)
            cells.append(means if family.colour else [luma])
    rows = np.array(cells).reshape(family.resolution, family.resolution, -1)
    low, high = (rows.min(), rows.max()) if family.stretch else (0, 255_000)
    rows = (rows - low) * family.num_levels // (high - low + 1)
    return tuple((rows[:, ::-1] if mirrored else rows).ravel().tolist())


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_probabilities_are_those_of_counting_views(family: ViewFamily) -> None:
    pictures = images()
    found = build(pictures, family)
    names = [tuple(levels.ravel().tolist()) for levels in found.levels]
    assert len(set(names)) == len(names) and names == sorted(names)
    expected = np.zeros((30, len(names)))
    count = 0
    for size in family.crop_sizes:
        starts = sorted({round(s) for s in np.linspace(0, 8 - size, family.num_shifts)})
        places = [(t, u, m) for t in starts for u in starts for m in ((False, True) if family.flip else (False,))]
        count += len(places)
        for top, left, mirrored in places:
            for i, image in enumerate(pictures):
                expected[i, names.index(naive_view(image, top, left, size, mirrored, family))] += 1
    np.testing.assert_allclose(found.graph.probabilities.toarray(), expected / count)
    assert len(family.boxes(8)) == count


def test_the_order_of_images_permutes_rows_alone() -> None:
    order = np.random.default_rng(1).permutation(30)
    ours, theirs = build(images(), FAMILY), build(images()[order], FAMILY)
    assert (ours.levels == theirs.levels).all()
    assert (ours.graph.probabilities[order] != theirs.graph.probabilities).nnz == 0


def test_stretched_levels_are_blind_to_brightness_and_contrast() -> None:
    dark = np.repeat(np.arange(0, 40, 10, dtype=np.uint8), 48).reshape(1, 8, 8, 3)
    both = np.concatenate([dark, dark * 3 + 90])
    assert build(both, ViewFamily((8,), 1, False, 4, 4)).graph.num_nodes == 1
    assert build(both, ViewFamily((8,), 1, False, 4, 4, stretch=False)).graph.num_nodes == 2


def test_picture_of_a_node_looks_like_the_node() -> None:
    pictures = images(size=8)
    family = ViewFamily((4,), 3, True, 2, 3)
    found = build(pictures, family)
    shown = node_pictures(pictures, found, family)
    again = build(shown, ViewFamily((8,), 1, False, 2, 3))
    rows, nodes = again.graph.probabilities.nonzero()
    assert (again.levels[nodes[np.argsort(rows)]] == found.levels).all()
    boxes = family.boxes(8)
    for node in (0, len(shown) // 2):
        box = boxes[found.box[node]]
        crop = pictures[found.image[node], box.top : box.top + 4, box.left : box.left + 4]
        assert (shown[node][::2, ::2] == (crop[:, ::-1] if box.mirrored else crop)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"crop_sizes": (9,)}, "crop of 9 pixels does not fit images of 8"),
        ({"crop_sizes": (1,)}, "crops are 2 pixels"),
        ({"num_levels": 1}, "levels of a view are 2 to 256, given 1"),
        ({"num_shifts": 0}, "shifts of views is 1 or more, given 0"),
    ],
)
def test_bad_families_are_refused(change: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(images(), ViewFamily(**{"crop_sizes": (6,), "resolution": 2, **change}))


def test_no_images_are_refused() -> None:
    with pytest.raises(UserError, match="one at least"):
        build(images(0), FAMILY)
