"""Sums over images that can be taken block by block, in float64: what is measured of them does not need all images.

`merge` gives the sums over two sets of images from the sums over each. Moments are about the mean of their own images
and are moved to the common one when they are merged, so that nothing is lost to a large mean: one block and many agree
up to the rounding of float64.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from analysis.blas import matmul

ROW_CHUNK: Final = 4096
"""Rows that are widened to float64 at a time."""


class Moments(NamedTuple):
    """First and second moments of all images.

    Attributes:
        num_images: N.
        mean: float64 [D].
        scatter: float64 [D, D], the sum of (f - mean)(f - mean)^T: N times the covariance.
    """

    num_images: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Moments:
        """Returns those of features float [N, D], N >= 1."""
        mean = features.mean(0, dtype=torch.float64)
        scatter = mean.new_zeros(len(mean), len(mean))
        for rows in features.split(ROW_CHUNK):
            centred = rows.double() - mean
            scatter += matmul(centred.T, centred)
        return cls(len(features), mean, scatter)

    def merge(self, other: Moments) -> Moments:
        """Returns those of both sets of images.

        Source: Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance".
        """
        num_images = self.num_images + other.num_images
        apart, share = other.mean - self.mean, other.num_images / num_images
        scatter = self.scatter + other.scatter + self.num_images * share * torch.outer(apart, apart)
        return Moments(num_images, self.mean + share * apart, scatter)

    def eigenvalues(self, centred: bool) -> Tensor:
        """Returns the eigenvalues of the covariance, or where not `centred` of E[f f^T], falling.

        Of N < D images only N can be above 0: float64 [min(N, D)].
        """
        matrix = self.scatter / self.num_images
        matrix = matrix if centred else matrix + torch.outer(self.mean, self.mean)
        return torch.linalg.eigvalsh(matrix).flip(0)[: self.num_images].clamp_min(0)


class ClassMoments(NamedTuple):
    """First and second moments of the classes of one split.

    Attributes:
        counts: float64 [K] images of each class; 0 for an absent one, whose other moments are NaN.
        means: float64 [K, D] mean feature of each class.
        variances: float64 [K] E|f - mu_c|^2, divided by the number of images.
    """

    counts: Tensor
    means: Tensor
    variances: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> ClassMoments:
        """Returns the moments of each class from one pass; sums are about the mean of all features.

        Args:
            features: float [N, D].
            labels: int64 [N], 0 .. num_classes - 1.
            num_classes: K.
        """
        labels = labels.to(features.device)
        centre = features.mean(0, dtype=torch.float64)
        counts = torch.bincount(labels, minlength=num_classes).double()
        sums = centre.new_zeros(num_classes, features.shape[1])
        squares = centre.new_zeros(num_classes)
        for rows, row_labels in zip(features.split(ROW_CHUNK), labels.split(ROW_CHUNK), strict=True):
            centred = rows.double() - centre
            if features.device.type == "cpu":
                sums.index_add_(0, row_labels, centred)
                squares.index_add_(0, row_labels, centred.square().sum(1))
            else:  # there, a sum by index has no fixed order
                member = one_hot(row_labels, num_classes).double().T  # [K, B]
                sums += member @ centred
                squares += member @ centred.square().sum(1)
        offsets = sums / counts[:, None]
        variances = (squares / counts - offsets.square().sum(1)).clamp_min(0)
        return cls(counts, centre + offsets, variances)

    def merge(self, other: ClassMoments) -> ClassMoments:
        """Returns those of both sets of images; of a class that only one of them has, its own.

        Source: as `Moments.merge`.
        """
        counts = self.counts + other.counts
        share = other.counts / counts  # NaN for a class that is absent in both
        here, there = self.counts > 0, other.counts > 0
        apart = torch.where((here & there)[:, None], other.means - self.means, 0.0)
        means = torch.where(here[:, None], self.means, other.means) + share[:, None] * apart
        within = (1 - share) * torch.where(here, self.variances, 0.0) + share * torch.where(there, other.variances, 0.0)
        return ClassMoments(counts, means, within + share * (1 - share) * apart.square().sum(1))


class Total(NamedTuple):
    """A plain sum over images.

    Attributes:
        value: float64, of any shape.
    """

    value: Tensor

    def merge(self, other: Total) -> Total:
        """Returns that of both sets of images."""
        return Total(self.value + other.value)


class ChosenRows(NamedTuple):
    """Features of some chosen images.

    Attributes:
        places: int64 [P], which of the chosen ones they are.
        rows: float [P, D].
    """

    places: Tensor
    rows: Tensor

    @classmethod
    def of(cls, features: Tensor, start: int, chosen: Tensor) -> ChosenRows:
        """Returns those that are chosen among the images `start`, `start + 1` ...

        Args:
            features: float [B, D] of these images.
            start: Row of the first among all images.
            chosen: int64 [C], rows among all images.
        """
        places = ((chosen >= start) & (chosen < start + len(features))).nonzero()[:, 0]
        return cls(places, features[(chosen[places] - start).to(features.device)])

    def merge(self, other: ChosenRows) -> ChosenRows:
        """Returns the chosen ones of both sets of images, in the order in which they were chosen."""
        places, order = torch.cat([self.places, other.places]).sort()
        return ChosenRows(places, torch.cat([self.rows, other.rows])[order.to(self.rows.device)])
