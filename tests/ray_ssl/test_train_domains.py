"""Training on domains: on which images, with which labels, measured on which, and what is refused."""

from __future__ import annotations

from dataclasses import replace as change
from typing import Any

import numpy as np
import pytest
import torch

from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data.base import EXTRA, SOURCE, TARGET, UNLABELLED, Dataset, ImageSet
from ray_ssl.errors import UserError
from ray_ssl.targets import labels_to_learn
from ray_ssl.trainer import Trainer, num_trained
from tests.ray_ssl.test_pretrain import config, images, with_domains

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def shifted() -> Dataset:
    """Of 128 training images 32 source, 64 target, 32 extra; 40 test images of both domains."""
    train = with_domains(images(128, 0), (SOURCE, TARGET, EXTRA, TARGET))
    return Dataset("tiny", train, with_domains(images(40, 1), (SOURCE, TARGET)))


def rows_of_an_epoch(trainer: Trainer) -> np.ndarray:
    return np.sort(np.concatenate([batch.rows.numpy() for batch in trainer.source.batches(1)]))


@pytest.mark.parametrize(
    ("domains", "trained"), [("all", (SOURCE, TARGET, EXTRA)), ("both", (SOURCE, TARGET)), ("source", (SOURCE,))]
)
def test_an_epoch_goes_through_the_images_of_its_domains(
    shifted: Dataset, domains: str, trained: tuple[int, ...]
) -> None:
    asked = config(training__train_domains=domains)
    assert shifted.train.domain is not None
    expected = np.flatnonzero(np.isin(shifted.train.domain, trained))
    trainer = Trainer(asked, shifted, CPU)
    assert np.array_equal(rows_of_an_epoch(trainer), expected)
    assert num_trained(asked, shifted) == len(expected)
    assert trainer.steps_per_epoch == len(expected) // 32


def test_labels_outside_the_source_are_hidden(shifted: Dataset) -> None:
    labels, num_classes = labels_to_learn(config(), shifted)
    assert num_classes == 4
    assert shifted.train.domain is not None
    is_source = shifted.train.domain == SOURCE
    assert np.array_equal(labels[is_source], shifted.train.fine[is_source])
    assert set(labels[~is_source]) == {UNLABELLED}


def train(asked: PretrainConfig, dataset: Dataset) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Metrics of one epoch without its times, and the weights."""
    trainer = Trainer(asked, dataset, CPU)
    metrics = trainer.train_epoch(1) | trainer.health()
    times = ("time", "epoch_seconds", "images_per_second")
    return {k: v for k, v in metrics.items() if k not in times}, trainer.method.state_dict()


def test_training_on_the_source_is_training_on_a_set_of_the_source_alone(shifted: Dataset) -> None:
    """With the statistics of all images, which both normalise by."""
    rows = np.flatnonzero(shifted.train.domain == SOURCE)
    alone = change(shifted, train=shifted.train.take(rows))
    alone.__dict__["channel_statistics"] = shifted.channel_statistics
    asked = config("supervised", training__train_domains="source")
    torch.testing.assert_close(train(asked, shifted), train(asked, alone), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["vicreg", "dann", "self_training, every guess"])
def test_the_targets_accuracy_stands_apart_and_its_labels_move_nothing_else(shifted: Dataset, method: str) -> None:
    def with_other_labels(split: ImageSet) -> ImageSet:
        return change(split, fine=np.where(split.domain == SOURCE, split.fine, 3 - split.fine))

    assert isinstance(shifted.train, ImageSet)
    assert isinstance(shifted.test, ImageSet)
    other = change(shifted, train=with_other_labels(shifted.train), test=with_other_labels(shifted.test))
    asked = config(method, training__train_domains="both")
    (metrics, weights), (of_other, other_weights) = (train(asked, dataset) for dataset in (shifted, other))
    torch.testing.assert_close(weights, other_weights, rtol=0, atol=0)
    changed = {name for name, value in metrics.items() if of_other[name] != value}
    assert changed == {"target_knn_accuracy"}


@pytest.mark.parametrize("method", ["dann", "self_training"])
def test_methods_that_learn_from_domains_need_two(shifted: Dataset, method: str) -> None:
    with pytest.raises(UserError, match=f"{method} learns from a source and a target, tiny is one domain: give a --sh"):
        Trainer(config(method), Dataset("tiny", images(96, 0), images(40, 1)), CPU)
    with pytest.raises(UserError, match="is to be trained on the source: give --train-domains all or both"):
        Trainer(config(method, training__train_domains="source"), shifted, CPU)


def test_what_takes_every_unlabelled_image_for_a_target_is_given_no_extra_ones(shifted: Dataset) -> None:
    with pytest.raises(UserError, match=r"dann takes images without a label for the target's.*--train-domains both"):
        Trainer(config("dann"), shifted, CPU)
    Trainer(config("dann", training__train_domains="both"), shifted, CPU)
    Trainer(config("self_training"), shifted, CPU)


def test_without_domains_there_is_no_accuracy_on_a_target() -> None:
    assert "target_knn_accuracy" not in train(config(), Dataset("tiny", images(96, 0), images(40, 1)))[0]


@pytest.mark.parametrize("method", ["supervised", "supervised_contrastive"])
def test_methods_that_learn_every_label_take_the_source_alone(shifted: Dataset, method: str) -> None:
    for domains in ("all", "both"):
        with pytest.raises(UserError, match=f"{method} learns the label of every image.*--train-domains source"):
            Trainer(config(method, training__train_domains=domains), shifted, CPU)
    Trainer(config(method, training__train_domains="source"), shifted, CPU)
    Trainer(config(method), Dataset("tiny", images(96, 0), images(40, 1)), CPU)


def test_a_batch_larger_than_the_source_is_refused(shifted: Dataset) -> None:
    asked = config(training__train_domains="source", training__global_batch_size=48)
    with pytest.raises(UserError, match="--global-batch-size 48 is larger than the training set: tiny has 32 images"):
        Trainer(asked, shifted, CPU)


def test_domains_without_a_shift_have_no_effect() -> None:
    unmet: dict[str, Any] = PretrainConfig().without_effect()
    assert unmet["training.train_domains"] == unmet["data.num_extra"] == "--shift"
    met = replace(PretrainConfig(), {"data.shift": "domains"}).without_effect()
    assert not {"training.train_domains", "data.num_extra"} & set(met)


def test_a_target_without_labels_is_trained_on_and_not_asked_for(shifted: Dataset) -> None:
    def without_labels(split: Any) -> ImageSet:
        return change(split, fine=np.where(split.domain == SOURCE, split.fine, UNLABELLED))

    unlabelled = change(shifted, train=without_labels(shifted.train), test=without_labels(shifted.test))
    unlabelled.__dict__["fingerprint"] = shifted.fingerprint
    asked = config("vicreg", training__train_domains="both")
    metrics, weights = train(asked, shifted)
    assert metrics.pop("target_knn_accuracy") >= 0
    found, same = train(asked, unlabelled)
    assert found == metrics
    torch.testing.assert_close(same, weights, rtol=0, atol=0)
