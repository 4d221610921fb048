"""Decoding: every kind of image becomes RGB of the asked size."""

import io

import numpy as np
import pytest
from PIL import Image

from ray_ssl.data.decode import decode, held_out_rows, resize, rows_to_take
from ray_ssl.errors import UserError
from tests.ray_ssl.data.images import png, random_images


def decoded(data: bytes, size: int = 16) -> np.ndarray:
    return decode([[("here", data)]], 1, size)[0]


def test_grey_alpha_palette_and_16_bit_become_rgb() -> None:
    rgb = random_images(1)[0]
    grey = rgb[..., 0]
    as_rgb = np.repeat(grey[..., None], 3, axis=2)
    np.testing.assert_array_equal(decoded(png(grey)), as_rgb)
    np.testing.assert_array_equal(decoded(png(Image.fromarray(grey.astype(np.uint16) * 257))), as_rgb)
    np.testing.assert_array_equal(decoded(png(np.dstack((rgb, grey)))), rgb)
    palette = Image.fromarray(rgb).quantize(16)
    np.testing.assert_array_equal(decoded(png(palette)), np.asarray(palette.convert("RGB")))


def test_orientation_of_a_photo_is_applied() -> None:
    upright = np.zeros((16, 16, 3), np.uint8)
    upright[:8] = 255
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 3  # turned by 180 degrees
    Image.fromarray(upright[::-1]).save(buffer, "JPEG", exif=exif, quality=95)
    assert np.abs(decoded(buffer.getvalue()).astype(int) - upright).max() < 10


def test_another_size_is_cut_to_the_central_square_and_resized() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 18:42] = 200  # the filter reads a little past the square
    assert (decoded(png(wide)) == 200).all()
    assert (decoded(png(wide.transpose(1, 0, 2)), 40) == 200).all()


def test_shrinking_averages() -> None:
    fine_checks = np.indices((128, 128)).sum(0) % 2 * np.uint8(255)
    shrunk = decoded(png(np.repeat(fine_checks[..., None], 3, axis=2).astype(np.uint8)))
    assert np.abs(shrunk.astype(int) - 127).max() <= 3


def test_arrays_are_resized_as_files_are() -> None:
    images = random_images(3, 24)
    np.testing.assert_array_equal(resize(images, 16), [decoded(png(image)) for image in images])
    assert resize(images, 24) is images


def test_the_first_damaged_image_of_many_is_named() -> None:
    good = png(random_images(1)[0])
    encoded = [(f"row {i}", b"" if i in (700, 1500) else good) for i in range(2000)]
    with pytest.raises(UserError, match="row 700: not a readable image"):
        decode([encoded[:1000], encoded[1000:]], 2000, 16)


def test_rows_to_take_are_nested_and_equal_in_number() -> None:
    fine = np.random.default_rng(0).integers(0, 5, 500)
    small, large = (rows_to_take(fine, "num_images", n, 3) for n in (50, 103))
    assert set(small) < set(large)
    assert np.bincount(fine[small]).tolist() == [10] * 5
    assert np.ptp(np.bincount(fine[large])) == 1


def test_held_out_rows_keep_both_sides_of_each_class() -> None:
    fine = np.array([0, 0, 1, 1, 1, 1, 1])
    for fraction in (0.001, 0.999):
        train, test = held_out_rows(fine, ("a", "b"), fraction, 0, "folder:x")
        assert sorted([*train, *test]) == list(range(7))
        assert set(fine[train]) == set(fine[test]) == {0, 1}
    with pytest.raises(UserError, match="folder:x: class 'b' has 1 image and there is no test split"):
        held_out_rows(np.array([0, 0, 1]), ("a", "b"), 0.5, 0, "folder:x")
