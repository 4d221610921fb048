"""Makes targets of graded randomness: predictions of a teacher at several epochs, and noisy labels beside them.

A teacher is a classifier of the same images. What it predicts at initialisation depends on the input, but not on
what the input shows; at the end of training it is the class as far as the teacher learned it (arXiv 2305.15614,
which sets the two ends; what lies between is measured by the following). The randomness of its predictions after
epoch e is

    (a_last - a_e) / (a_last - a_0), cut off at 0 and 1,

where a_e is the share of unaugmented training images that it predicts right: 1 at initialisation, 0 at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from ray_ssl import views
from ray_ssl.backbones.base import build_backbone
from ray_ssl.checkpoints import Checkpoint, DamagedCheckpointError, checkpoint_folder, load_checkpoint, saved_epochs
from ray_ssl.config import PretrainConfig
from ray_ssl.data.base import Dataset, require_labels
from ray_ssl.errors import UserError
from ray_ssl.ledger import Ledger, Trial, TrialState
from ray_ssl.methods.base import build_method
from ray_ssl.rng import numpy_stream
from ray_ssl.storage import Storage
from ray_ssl.targets import SPLITS, Labels, SplitFacts, Targets, TargetSet

BATCH_SIZE: Final = 512
NOISE_EPOCH: Final = -1


def teacher_name(level: float) -> str:
    """Returns the level's name in the table, e.g. "teacher-0.25"."""
    return f"teacher-{level:.2f}"


def noise_name(level: float) -> str:
    """Returns the level's name in the table, e.g. "noise-0.25"."""
    return f"noise-{level:.2f}"


def make_targets(
    ledger: Ledger,
    teacher: Trial,
    dataset: Dataset,
    levels: Sequence[float],
    known: Targets | None,
    device: torch.device | str = "cpu",
) -> Targets:
    """Returns the targets of these levels of randomness: a teacher's, and noise.

    Args:
        ledger: Of the teacher's sweep.
        teacher: The trial; it is finished.
        dataset: The images it was trained on.
        levels: Wanted randomness, 0..1.
        known: Targets of the same images that were made before; they are kept as they are.
        device: Where the teacher predicts.

    Raises:
        UserError: The teacher is not there, a checkpoint of it is damaged, or it learned nothing.
    """
    require_labels("graded randomness", dataset, "train", "test")
    sets = {} if known is None else dict(known.sets)
    new = [level for level in levels if teacher_name(level) not in sets]
    for level in new:
        labels = {
            s: noisy_labels(x.fine, len(x.fine_names), level, teacher.config.seed, s) for s, x in _splits(dataset)
        }
        share = round(level * len(dataset.train)) / len(dataset.train)
        sets[noise_name(level)] = _target_set(labels, dataset, share, NOISE_EPOCH)
    if new:
        randomness, labels_at = _teach(ledger, teacher, dataset, device)
        for level in new:
            epoch = nearest_epoch(randomness, level)
            sets[teacher_name(level)] = _target_set(labels_at(epoch), dataset, randomness[epoch], epoch)
    return Targets(dataset.fingerprint, dict(sorted(sets.items())))


def _splits(dataset: Dataset) -> list[tuple[str, Any]]:
    return list(zip(SPLITS, (dataset.train, dataset.test), strict=True))


def _teach(
    ledger: Ledger, teacher: Trial, dataset: Dataset, device: torch.device | str
) -> tuple[dict[int, float], Callable[[int], dict[str, Labels]]]:
    """The randomness of each of a teacher's checkpoints by epoch, and what gives its labels of both splits."""
    trial = ledger.trial(teacher.key)
    if ledger.state(teacher.key) is not TrialState.DONE:
        raise UserError(f"there is no trained teacher in {trial.uri}")
    on_train = {e: predict(_load(trial, e), dataset.train.images, device) for e in saved_epochs(trial)}
    last = teacher.config.training.epochs
    absent = [epoch for epoch in (0, last) if epoch not in on_train]
    if absent:
        raise UserError(f"the teacher in {trial.uri} has no checkpoint of epoch {absent[0]}")
    accuracy = {epoch: float((labels == dataset.train.fine).mean()) for epoch, labels in on_train.items()}

    def labels_at(epoch: int) -> dict[str, Labels]:
        return {"train": on_train[epoch], "test": predict(_load(trial, epoch), dataset.test.images, device)}

    return randomness_by_epoch(accuracy), labels_at


def _load(trial: Storage, epoch: int) -> Checkpoint:
    try:
        return load_checkpoint(trial, checkpoint_folder(epoch))
    except DamagedCheckpointError as error:
        raise UserError(f"damaged checkpoint of the teacher: {trial.uri}/{error}") from None


@torch.no_grad()
def predict(checkpoint: Checkpoint, images: NDArray[np.uint8], device: torch.device | str = "cpu") -> Labels:
    """Returns a supervised network's labels of unaugmented images, in evaluation mode and fp32.

    Args:
        checkpoint: Of method "supervised".
        images: uint8 [N, H, W, 3].
        device: Where to compute.

    Returns:
        int64 [N], the largest logit of each.
    """
    config = PretrainConfig.from_dict(checkpoint.card["config"])
    size, normalisation = config.data.image_size, checkpoint.card["normalisation"]
    backbone = build_backbone(config.backbone, size)
    method: Any = build_method(config.method, backbone, checkpoint.card["num_classes"])
    method.load_state_dict(checkpoint.model)
    method.eval().to(device)
    labels = []
    for start in range(0, len(images), BATCH_SIZE):
        chunk = torch.tensor(images[start : start + BATCH_SIZE], device=device)
        plain = views.draw(None, len(chunk), (chunk.shape[1], chunk.shape[2]), size, torch.Generator())
        inputs = views.apply(chunk, plain, normalisation["mean"], normalisation["std"])
        labels.append(method.head(method.backbone(inputs)).argmax(1).cpu())
    return torch.cat(labels).numpy()


class UntrainedTeacherError(UserError):
    """A teacher that is no better at its end than at its initialisation: it has no randomness to grade."""


def randomness_by_epoch(accuracy: Mapping[int, float]) -> dict[int, float]:
    """Returns the randomness of a teacher's labels by epoch; see the module.

    Args:
        accuracy: Share of training images predicted right, by epoch; the first is initialisation.

    Raises:
        UntrainedTeacherError: The last is not above the first.
    """
    first, last = accuracy[min(accuracy)], accuracy[max(accuracy)]
    if last <= first:
        raise UntrainedTeacherError(
            f"the teacher learned nothing: it predicts {last:.1%} of the training images right after its last epoch, "
            f"{first:.1%} at initialisation; give more --teacher-epochs, or more images, under another --name"
        )
    return {epoch: min(1.0, max(0.0, (last - a) / (last - first))) for epoch, a in accuracy.items()}


def nearest_epoch(randomness: Mapping[int, float], level: float) -> int:
    """Returns the epoch whose randomness is nearest; of several, initialisation or the last epoch, else the first."""
    ends = (min(randomness), max(randomness))
    return min(sorted(randomness), key=lambda epoch: (abs(randomness[epoch] - level), epoch not in ends))


def noisy_labels(labels: Labels, num_labels: int, share: float, seed: int, split: str) -> Labels:
    """Returns labels of which a share is replaced by uniformly random ones, which may be the same again.

    Args:
        labels: int64 [N].
        num_labels: K; random ones are 0 .. K - 1.
        share: 0..1; what is replaced at a smaller share is replaced by the same at a larger one.
        seed: Of the noise.
        split: Name of the split, so that each has noise of its own.
    """
    random = numpy_stream(seed, f"label noise of {split}")
    replaced = random.permutation(len(labels))[: round(share * len(labels))]
    drawn = random.integers(0, num_labels, len(labels))
    noisy = labels.copy()
    noisy[replaced] = drawn[replaced]
    return noisy


def _target_set(labels: dict[str, Labels], dataset: Dataset, randomness: float, epoch: int) -> TargetSet:
    facts = {split: describe_labels(labels[split], images.fine) for split, images in _splits(dataset)}
    return TargetSet(labels, facts, randomness, epoch)


def describe_labels(labels: Labels, classes: Labels) -> SplitFacts:
    """Returns the numbers that are kept of a split's labels.

    Args:
        labels: int64 [N], N >= 1.
        classes: int64 [N], the truth.
    """
    shares = np.bincount(labels) / len(labels)
    used = shares[shares > 0]
    entropy = float(-(used * np.log(used)).sum())
    return SplitFacts(float((labels == classes).mean()), max(0.0, entropy), len(used), float(shares.max()))
