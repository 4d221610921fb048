"""Multi-crop: what is refused, what goes through the network together, and the swapped cross entropy."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ray_ssl.backbones.base import build_backbone
from ray_ssl.backbones.res_lh import Config as Backbone
from ray_ssl.config import ViewConfig
from ray_ssl.errors import UserError
from ray_ssl.methods.base import MultiCropConfig, ViewPlan, embed_crops, multi_crop_views
from ray_ssl.methods.base.crops import check_backbone_takes, crops_of, stack_crops, swapped_cross_entropy


def _config(**options: float) -> MultiCropConfig:
    return MultiCropConfig.model_validate({"name": "x", "num_small_crops": 2, **options})


def _distributions(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(len(shape))).softmax(-1)


def test_small_views_larger_than_full_ones_are_refused() -> None:
    assert multi_crop_views(_config(small_crop_size=32), ViewConfig(), 32)[-1].size == 32
    with pytest.raises(UserError, match="--small-crop-size 33 is more than the 32 pixels of full views; at most 32"):
        multi_crop_views(_config(small_crop_size=33), ViewConfig(), 32)


@pytest.mark.parametrize("crop_scale", [(0.3, 1.0), (0.05, 0.2)])
def test_a_split_outside_the_range_of_crops_is_refused(crop_scale: tuple[float, float]) -> None:
    views = ViewConfig(crop_scale=crop_scale)
    assert multi_crop_views(_config(num_small_crops=0), views, 32) == [ViewPlan(views, 32)] * 2
    with pytest.raises(UserError, match=r"--crop-split 0.25 lies outside --crop-scale 0\.\d+ [\d.]+:"):
        multi_crop_views(_config(), views, 32)


def test_only_the_crops_differ_between_small_and_full_views() -> None:
    views = ViewConfig(hue=0.2, blur_probability=0.3)
    plans = multi_crop_views(_config(crop_split=0.14), views, 32)
    assert [p.config.crop_scale for p in plans if p.config] == [(0.14, 1)] * 2 + [(0.08, 0.14)] * 2
    assert all(p.config and p.config.model_copy(update={"crop_scale": views.crop_scale}) == views for p in plans)


def test_a_backbone_whose_features_grow_with_the_image_is_refused() -> None:
    plans = multi_crop_views(_config(), ViewConfig(), 32)
    flat = build_backbone(Backbone(depth=1, width=4, pool="flatten"), 32)
    check_backbone_takes(plans[:2], flat)
    with pytest.raises(UserError, match="views of 16 pixels have 64 and full ones 256: use --pool mean"):
        check_backbone_takes(plans, flat)


@pytest.mark.parametrize("training", [True, False])
def test_looking_at_the_backbone_leaves_it_as_it_was(training: bool) -> None:
    backbone = build_backbone(Backbone(depth=1, width=4), 32).train(training)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    check_backbone_takes(multi_crop_views(_config(), ViewConfig(), 32), backbone)
    torch.testing.assert_close(backbone.state_dict(), before, rtol=0, atol=0)
    assert backbone.training == training


def test_norms_see_views_of_one_size_together_and_sizes_apart() -> None:
    norm = nn.BatchNorm1d(1, eps=1e-15, affine=False).double()  # the weights, of any seed, may be small
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1).double(), norm)
    views = [torch.rand(4, 3, size, size, dtype=torch.float64) for size in (8, 8, 4, 4, 4)]
    full, small = torch.cat(embed_crops(network, views)).split([8, 12])
    for group in (full, small):
        assert group.mean().item() == pytest.approx(0, abs=1e-9)
        assert group.var(correction=0).item() == pytest.approx(1, rel=1e-6)


def test_embeddings_are_put_together_as_they_were_taken_apart() -> None:
    views = [torch.full((3, 2), float(i)) for i in range(4)]
    outputs = stack_crops(views)
    assert torch.equal(outputs["z"], views[0])
    assert torch.equal(crops_of(outputs), torch.stack(views, 1))


@pytest.mark.parametrize("num_views", [2, 3, 6])
def test_swapped_cross_entropy_is_the_mean_over_pairs_of_different_views(num_views: int) -> None:
    targets, predictions = _distributions(5, 2, 4), _distributions(5, num_views, 4)
    pairs = [(t, v) for t in range(2) for v in range(num_views) if t != v]
    cross = entropy = 0.0
    for t, v in pairs:
        for p, q in zip(targets[:, t].tolist(), predictions[:, v].tolist(), strict=True):
            cross -= sum(a * math.log(b) for a, b in zip(p, q, strict=True)) / 5 / len(pairs)
            entropy -= sum(a * math.log(a) for a in p) / 5 / len(pairs)
    terms = {name: value.item() for name, value in swapped_cross_entropy(targets, predictions.log()).items()}
    assert terms == pytest.approx({"loss": cross, "entropy": entropy, "divergence": cross - entropy})


def test_predictions_equal_to_the_other_views_target_cost_its_entropy_alone() -> None:
    targets = _distributions(5, 2, 4)
    terms = swapped_cross_entropy(targets, targets.flip(1).log())
    assert terms["divergence"].item() == pytest.approx(0, abs=1e-12)
    assert terms["loss"].item() == pytest.approx(terms["entropy"].item())


def test_hard_targets_have_no_entropy() -> None:
    targets = torch.eye(4, dtype=torch.float64)[:, None].expand(4, 2, 4)
    terms = swapped_cross_entropy(targets, _distributions(4, 3, 4).log())
    assert terms["entropy"] == 0
    assert terms["loss"].isfinite()
