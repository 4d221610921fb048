"""The batched views against torchvision's per-image functions and random draws."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
import torch
import torchvision.transforms.v2 as T
import torchvision.transforms.v2.functional as F
from torch import Tensor

from ray_ssl.config import ViewConfig
from ray_ssl.rng import torch_stream
from ray_ssl.spatial import blur_radius
from ray_ssl.views import ViewParameters, apply, augment, draw

NOTHING: dict[str, Any] = {"flip_probability": 0.0, "jitter_probability": 0.0, "grey_probability": 0.0}
EVERYTHING = ViewConfig(
    jitter_probability=1.0, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.5, blur_probability=0.5
)


def random_images(num_images: int, height: int = 32, width: int = 32) -> Tensor:
    """Uniform noise, with dark, pale, grey, black and white images at the front."""
    images = torch.randint(0, 256, (num_images, height, width, 3), generator=torch_stream(0, "test images"))
    images[0] //= 8
    images[1] = 255 - images[1] // 8
    images[2] = images[2, :, :, :1]
    images[3], images[4] = 0, 255
    return images.byte()


def view_of(image: Tensor, params: ViewParameters) -> Tensor:
    """One view by torchvision's functions: uint8 [H, W, 3] and a single row of parameters -> [3, size, size]."""
    size = [params.size, params.size]
    top, left, height, width = params.box[0].tolist()
    view = image.permute(2, 0, 1).float() / 255
    view = F.resized_crop(view, top, left, height, width, size, antialias=True)  # bilinear
    view = F.horizontal_flip(view) if params.flip else view
    jitter: list[Callable[[Tensor, float], Tensor]]
    jitter = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
    strengths = [*params.factors[0].tolist(), params.hue.item()]
    for operation in params.order[0].tolist() if params.jitter else []:
        view = jitter[operation](view, strengths[operation])
    view = F.rgb_to_grayscale(view, num_output_channels=3) if params.grey else view
    if params.blur:
        kernel = 2 * blur_radius(params.size) + 1
        view = F.gaussian_blur(view, [kernel, kernel], [params.sigma.item()] * 2)
    return F.solarize(view, params.solarise_threshold) if params.solarise else view


def assert_agrees(images: Tensor, params: ViewParameters, tolerance: float = 1e-5) -> None:
    expected = torch.stack([view_of(image, params[i : i + 1]) for i, image in enumerate(images)])
    torch.testing.assert_close(apply(images, params), expected, rtol=0, atol=tolerance)


def draw_for(images: Tensor, config: ViewConfig | None, size: int = 32, seed: int = 0) -> ViewParameters:
    height, width = images.shape[1:3]
    return draw(config, len(images), (height, width), size, torch_stream(seed, "views"))


ONE_OPERATION = {
    "crop": ViewConfig(**NOTHING),
    "flip": ViewConfig(**{**NOTHING, "flip_probability": 1.0}),
    "brightness": ViewConfig(**{**NOTHING, "jitter_probability": 1.0}, brightness=0.8, contrast=0, saturation=0, hue=0),
    "contrast": ViewConfig(**{**NOTHING, "jitter_probability": 1.0}, brightness=0, contrast=0.8, saturation=0, hue=0),
    "saturation": ViewConfig(**{**NOTHING, "jitter_probability": 1.0}, brightness=0, contrast=0, saturation=0.8, hue=0),
    "hue": ViewConfig(**{**NOTHING, "jitter_probability": 1.0}, brightness=0, contrast=0, saturation=0, hue=0.5),
    "grey": ViewConfig(**{**NOTHING, "grey_probability": 1.0}),
    "blur": ViewConfig(**NOTHING, blur_probability=1.0),
}


@pytest.mark.parametrize("name", ONE_OPERATION)
def test_each_operation_agrees_with_torchvision(name: str) -> None:
    images = random_images(48)
    assert_agrees(images, draw_for(images, ONE_OPERATION[name]))


@pytest.mark.parametrize("config", [ViewConfig(), EVERYTHING], ids=["default", "everything"])
@pytest.mark.parametrize(
    ("height", "width", "size"), [(32, 32, 32), (32, 32, 13), (20, 30, 48), (96, 64, 32), (9, 40, 24)]
)
def test_all_operations_agree_with_torchvision(config: ViewConfig, height: int, width: int, size: int) -> None:
    images = random_images(150, height, width)
    assert_agrees(images, draw_for(images, config, size), tolerance=2e-5)


def test_the_blur_spans_a_tenth_of_the_image() -> None:
    assert [2 * blur_radius(size) + 1 for size in (8, 32, 64, 96, 224)] == [3, 3, 7, 9, 23]


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_solarise_agrees_with_torchvision(threshold: float) -> None:
    images = random_images(32)
    config = ViewConfig(**NOTHING, crop_scale=(1, 1), crop_ratio=(1, 1), solarise_probability=0.5)
    params = draw_for(images, config.model_copy(update={"solarise_threshold": threshold}))
    assert 0 < params.solarise.sum() < 32
    assert_agrees(images, params)


@pytest.mark.parametrize("shift", [-0.5, -1 / 3, -1e-3, 0.0, 0.1, 0.5])
def test_hue_agrees_on_every_kind_of_colour(shift: float) -> None:
    levels = torch.tensor([0, 1, 2, 127, 128, 254, 255], dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels)  # pure, mixed, equal two by two, grey, black, white
    images = colours[torch.arange(19 * 19) % len(colours)].view(1, 19, 19, 3)
    params = draw_for(images, ViewConfig(**{**NOTHING, "jitter_probability": 1.0}, crop_scale=(1, 1)), 19)
    params.box[:] = torch.tensor([0, 0, 19, 19])
    params.factors[:] = 1
    params.hue[:] = shift
    assert_agrees(images, params)


@pytest.mark.parametrize("factor", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("order", list(permutations(range(4))))
def test_extreme_factors_agree_in_every_order(factor: float, order: tuple[int, ...]) -> None:
    images = random_images(12)
    params = draw_for(images, EVERYTHING)
    params.factors[:] = factor
    params.order[:] = torch.tensor(order)
    assert_agrees(images, params, tolerance=2e-5)


def test_grey_images_keep_their_values_when_the_hue_turns() -> None:
    images = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(8, 16, 16, 3).contiguous()
    params = draw_for(images, EVERYTHING, 16)
    params.box[:], params.factors[:], params.flip[:] = torch.tensor([0, 0, 16, 16]), 1, False
    params.grey[:] = params.blur[:] = False
    # Grey weights sum to 0.9999, in torchvision too, but a saturation factor of 1 does not use them.
    torch.testing.assert_close(apply(images, params), images.permute(0, 3, 1, 2) / 255, rtol=0, atol=1e-6)


def test_no_augmentation_gives_the_exact_pixels() -> None:
    images = random_images(100)
    views = augment(images, None, 32, torch_stream(0, "views"))
    assert torch.equal(views, images.permute(0, 3, 1, 2).float() / 255)


@pytest.mark.parametrize(("height", "width", "size"), [(32, 32, 20), (24, 40, 32)])
def test_no_augmentation_resizes_the_whole_image(height: int, width: int, size: int) -> None:
    images = random_images(8, height, width)
    expected = F.resize(images.permute(0, 3, 1, 2).float() / 255, [size, size], antialias=True)
    views = augment(images, None, size, torch_stream(0, "views"))
    torch.testing.assert_close(views, expected, rtol=0, atol=1e-5)


def test_normalised_and_channels_last_views_are_the_same_views() -> None:
    images = random_images(70)
    params = draw_for(images, EVERYTHING)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    views = apply(images, params, mean.tolist(), std.tolist(), channels_last=True)
    assert views.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(views, (apply(images, params) - mean[:, None, None]) / std[:, None, None])


def test_the_views_of_an_image_do_not_depend_on_the_rest_of_the_batch() -> None:
    images = random_images(300)
    params = draw_for(images, EVERYTHING)
    whole = apply(images, params)
    workers = [apply(images[rows], params[rows]) for rows in (slice(0, 100), slice(100, 101), slice(101, 300))]
    torch.testing.assert_close(torch.cat(workers), whole, rtol=0, atol=1e-6)
    assert len(apply(images[:0], params[:0])) == 0


def test_where_nothing_is_jittered_the_views_are_those_beside_jittered_images() -> None:
    images = random_images(300)
    jittered = draw_for(images, EVERYTHING.model_copy(update={"grey_probability": 0.5, "solarise_probability": 0.3}))
    plain = replace(jittered, jitter=torch.zeros_like(jittered.jitter))
    mixed = replace(plain, jitter=torch.arange(300) % 3 == 0)
    alone, beside = (apply(images, params, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)) for params in (plain, mixed))
    torch.testing.assert_close(alone[~mixed.jitter], beside[~mixed.jitter], rtol=0, atol=1e-5)
    assert alone.is_contiguous()


def test_the_same_generator_draws_the_same_views_and_another_does_not() -> None:
    images = random_images(64)
    first, again, other = (augment(images, ViewConfig(), 32, torch_stream(s, "views")) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert (first != other).any((1, 2, 3)).sum() > 60


def test_all_pixels_stay_on_the_device_of_the_images() -> None:
    # Meta tensors hold no values and refuse to meet tensors of another device.
    images = random_images(150)
    params = draw_for(images, EVERYTHING.model_copy(update={"solarise_probability": 0.5}))
    views = apply(images.to("meta"), params, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), channels_last=True)
    assert views.is_meta
    assert views.shape == (150, 3, 32, 32)


def test_the_images_are_left_as_they_were() -> None:
    images = random_images(64)
    before = images.clone()
    augment(images, EVERYTHING, 32, torch_stream(0, "views"))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 64), (64, 20), (8, 100)])
def test_crops_are_distributed_as_torchvision_draws_them(height: int, width: int) -> None:
    config = ViewConfig()
    num_draws = 4000
    ours = draw(config, num_draws, (height, width), 32, torch_stream(0, "views")).box
    crop = T.RandomResizedCrop(32, config.crop_scale, config.crop_ratio)
    image = torch.empty(3, height, width)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = [crop.make_params([image]) for _ in range(num_draws)]
    theirs = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in drawn])
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, :2] + ours[:, 2:] <= torch.tensor([height, width])).all()
    for column in range(4):
        assert distance_of_distributions(ours[:, column], theirs[:, column]) < 1.95 * (2 / num_draws) ** 0.5
    areas = [(box[:, 2] * box[:, 3]) for box in (ours, theirs)]
    assert distance_of_distributions(*areas) < 1.95 * (2 / num_draws) ** 0.5


def distance_of_distributions(first: Tensor, second: Tensor) -> float:
    """Kolmogorov and Smirnov's statistic of two samples; 1.95 sqrt(2 / n) is exceeded once in 1000 draws."""
    values = torch.cat([first, second]).unique()
    cumulative = [torch.searchsorted(s.sort().values, values, right=True) / len(s) for s in (first, second)]
    return (cumulative[0] - cumulative[1]).abs().max().item()


def test_crops_that_never_fit_fall_back_to_the_centre() -> None:
    config = ViewConfig(crop_scale=(1, 1), crop_ratio=(1, 1))
    for height, width, box in [(10, 30, [0, 10, 10, 10]), (31, 10, [10, 0, 10, 10]), (9, 9, [0, 0, 9, 9])]:
        params = draw(config, 5, (height, width), 32, torch_stream(0, "views"))
        assert params.box.tolist() == [box] * 5


def test_probabilities_factors_and_orders_are_drawn_as_configured() -> None:
    config = ViewConfig(blur_probability=0.3, solarise_probability=0.1, brightness=1.5, contrast=0.2)
    n = 20_000
    params = draw(config, n, (32, 32), 32, torch_stream(0, "views"))
    expected = {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.3, "solarise": 0.1}
    for name, probability in expected.items():
        assert abs(getattr(params, name).double().mean().item() - probability) < 4 * 0.5 / n**0.5, name
    limits = [(0, 2.5), (0.8, 1.2), (0.6, 1.4), (-0.1, 0.1), (0.1, 2.0)]
    for drawn, (low, high) in zip([*params.factors.unbind(1), params.hue, params.sigma], limits, strict=True):
        level = (drawn.double() - low) / (high - low)
        assert level.min() > -1e-6
        assert level.max() < 1 + 1e-6
        assert distance_of_distributions(level, (torch.arange(n) + 0.5) / n) < 1.95 / n**0.5
    orders, counts = params.order.unique(dim=0, return_counts=True)
    assert sorted(map(tuple, orders.tolist())) == list(permutations(range(4)))
    assert (counts - n / 24).abs().max() < 4.5 * (n / 24) ** 0.5


def test_draws_of_one_image_are_independent_of_each_other() -> None:
    params = draw(ViewConfig(), 20_000, (32, 32), 32, torch_stream(0, "views"))
    columns = [params.box[:, 0], params.flip, params.jitter, *params.factors.unbind(1), params.hue, params.grey]
    correlation = torch.corrcoef(torch.stack([column.double() for column in columns]))
    assert (correlation - torch.eye(len(correlation))).abs().max() < 5 / 20_000**0.5


@pytest.mark.parametrize("size", [8, 10, 12, 13, 16, 32, 33])
def test_no_bit_of_a_view_depends_on_its_neighbours(size: int) -> None:
    images = random_images(60)
    config = ViewConfig(blur_probability=0.3, solarise_probability=0.2)
    params = draw_for(images, config, size)
    together = apply(images, params, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    for length in (1, 3, 31):
        rows = [slice(i, i + length) for i in range(0, 60, length)]
        apart = [apply(images[one], params[one], (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)) for one in rows]
        assert torch.equal(torch.cat(apart), together)
