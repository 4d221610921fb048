"""Label levels: what a representation is asked to tell apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from ray_ssl.data.base import UNLABELLED, Dataset, require_labels


@dataclass(frozen=True)
class TargetFacts:
    """What a target of graded randomness is compared with.

    Attributes:
        randomness: Measured when it was made, 0 (semantic) to 1 (random).
        train_classes: int64 [N] class labels of the training images.
        test_classes: int64 [M] class labels of the test images.
    """

    randomness: float
    train_classes: Tensor
    test_classes: Tensor


@dataclass(frozen=True)
class LabelLevel:
    """One set of labels of the measured images.

    Attributes:
        name: "class", "superclass" ...
        train: int64 [N] labels of the training images, 0 .. num_classes - 1.
        test: int64 [M] labels of the test images.
        num_classes: Number of labels; some may have no image.
        target: Of a target of graded randomness alone.
        names: Of the labels; empty where they have none.
        domains: int64 [N] and [M], `SOURCE`, `TARGET` or `EXTRA` of each image; of level group "domains" alone, where
            labels of images outside the source may be `UNLABELLED`.
        domain_names: Of `SOURCE`, `TARGET` ...; of level group "domains" alone.
    """

    name: str
    train: Tensor
    test: Tensor
    num_classes: int
    target: TargetFacts | None = None
    names: tuple[str, ...] = field(default=(), kw_only=True)
    domains: tuple[Tensor, Tensor] | None = field(default=None, kw_only=True)
    domain_names: tuple[str, ...] = field(default=(), kw_only=True)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of the labels: a level's name does not say which images it is of."""
        digest = hashlib.sha256(f"{self.num_classes} {len(self.train)}".encode())
        for labels in (self.train, self.test):
            digest.update(labels.cpu().numpy().tobytes())
        return digest.hexdigest()

    def rows(self, train: slice, test: slice) -> LabelLevel:
        """Returns the labels of some images; without `target` and `domains`, which are of all."""
        return replace(self, train=self.train[train], test=self.test[test], target=None, domains=None)


def data_levels(dataset: Dataset) -> list[LabelLevel]:
    """Returns the levels the data itself has: class, and superclass where every image has one.

    Raises:
        UserError: Images of a target have no label.
    """
    require_labels("level class", dataset, "train", "test")
    train, test = dataset.train, dataset.test
    fine, names = (torch.tensor(train.fine), torch.tensor(test.fine)), train.fine_names
    levels = [LabelLevel("class", *fine, len(names), names=names)]
    known = [side for side in (train.coarse, test.coarse) if side is not None and not (side == UNLABELLED).any()]
    if len(known) == 2:
        coarse = torch.tensor(known[0]), torch.tensor(known[1])
        levels.append(LabelLevel("superclass", *coarse, len(train.coarse_names), names=train.coarse_names))
    return levels


def domain_levels(dataset: Dataset) -> list[LabelLevel]:
    """Returns the level class with the domain of each image; images of the target may have no label."""
    train, test = dataset.train, dataset.test
    assert train.domain is not None and test.domain is not None
    domains = torch.tensor(train.domain), torch.tensor(test.domain)
    fine, names = (torch.tensor(train.fine), torch.tensor(test.fine)), train.fine_names
    return [LabelLevel("class", *fine, len(names), names=names, domains=domains, domain_names=train.domain_names)]


def target_levels(dataset: Dataset) -> list[LabelLevel]:
    """Returns the targets of graded randomness that the images carry, in their order."""
    train, test, num_classes = dataset.train, dataset.test, len(dataset.train.fine_names)
    classes = torch.tensor(train.fine), torch.tensor(test.fine)
    return [
        LabelLevel(
            name, torch.tensor(labels), torch.tensor(test.targets[name]), num_classes,
            TargetFacts(dataset.target_randomness[name], *classes),
        )
        for name, labels in train.targets.items()
    ]  # fmt: skip


def sample_level(num_samples: int, num_train_views: int, num_test_views: int) -> LabelLevel:
    """Returns the level whose classes are single images: the views of the first image, those of the second ...

    Source: arXiv 2305.15614, section 2.
    """
    samples = torch.arange(num_samples)
    return LabelLevel(
        "sample", samples.repeat_interleave(num_train_views), samples.repeat_interleave(num_test_views), num_samples
    )
