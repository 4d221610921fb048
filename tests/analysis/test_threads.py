"""Layers measured in several threads are those measured one by one."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from analysis.features import LayerFeatures, Pictures, extract
from analysis.measure import measure_layers
from analysis.metrics import alignment_uniformity, cdnv, linear_probe, ncc
from analysis.threads import in_threads
from ray_ssl.backbones.base import build_backbone
from ray_ssl.config import PretrainConfig
from tests.analysis.metrics.blobs import blobs

NUM_THREADS = 2


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(NUM_THREADS)
    yield
    torch.set_num_threads(before)


def test_each_call_computes_with_one_thread_and_answers_keep_their_order() -> None:
    def call(item: int) -> tuple[int, int]:
        torch.ones(64, 64).exp().sum()  # torch learns its number of threads where it first computes
        return item, torch.get_num_threads()

    assert in_threads(call, range(7)) == [(item, 1) for item in range(7)]
    assert in_threads(call, [3]) == [(3, 1)]  # nothing to share, and the same numbers
    assert in_threads(call, range(3), at_once=1) == [(item, 1) for item in range(3)]
    assert in_threads(call, []) == []
    assert torch.get_num_threads() == NUM_THREADS


def test_the_first_failure_is_raised() -> None:
    def call(item: int) -> Tensor:
        if item >= 2:
            raise ValueError(f"item {item}")
        return torch.ones(item)

    with pytest.raises(ValueError, match="item 2"):
        in_threads(call, range(5))
    assert torch.get_num_threads() == NUM_THREADS


@pytest.mark.parametrize("metric", [linear_probe, ncc, cdnv, alignment_uniformity], ids=lambda one: one.__name__)
def test_threads_change_no_number(metric: object) -> None:
    features, levels = blobs(600, 200, num_dims=12, num_classes=5, distance=2.0)
    layers = [LayerFeatures(features.train * k + k, features.test * k + k) for k in (1, 2, 3)]
    layers.append(layers[-1])  # a layer that shares its features is measured once
    names = ["stem", "block1", "block2", "representation"]
    together = list(measure_layers(metric, names, layers, levels))
    torch.set_num_threads(1)
    fresh = [LayerFeatures(one.train, one.test) for one in layers[:3]]
    assert together == list(measure_layers(metric, names, [*fresh, fresh[-1]], levels))


def test_threads_change_no_feature() -> None:
    config = PretrainConfig.from_dict(
        {"data": {"dataset": "shapes"}, "backbone": {"name": "res_lh", "depth": 1, "width": 8}}
    )
    backbone = build_backbone(config.backbone, 32).eval()
    card = {"config": {"data": {"image_size": 32}}, "normalisation": {"mean": [0.5] * 3, "std": [0.3] * 3}}
    images = np.random.default_rng(0).integers(0, 256, (250, 32, 32, 3), np.uint8)
    pictures = Pictures(images, 3, config.views, seed=1, purpose="views")
    for precision in ("fp32", "bf16"):
        together = extract(backbone, pictures, card, torch.device("cpu"), precision)
        torch.set_num_threads(1)
        alone = extract(backbone, pictures, card, torch.device("cpu"), precision)
        torch.set_num_threads(NUM_THREADS)
        assert all(map(torch.equal, together, alone)) and not together[-1].requires_grad
        assert [len(layer) for layer in together] == [750] * 3 and together[-1] is together[-2]
        last = extract(backbone, replace(pictures, first=512), card, torch.device("cpu"), precision)
        assert all(map(torch.equal, last, [layer[512:] for layer in alone]))  # a block gives the same features
