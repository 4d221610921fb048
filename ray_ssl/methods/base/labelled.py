"""Losses over images only some of which have labels: those of the source have, all others have `UNLABELLED`."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy

from ray_ssl.methods.base.contract import Terms


def mean_where(values: Tensor, chosen: Tensor) -> Tensor:
    """Returns the mean of values [N] over the chosen rows, bool [N]; 0 where there is none, with gradient 0."""
    return (values * chosen).sum() / chosen.sum().clamp(min=1)


def labelled_terms(logits: Tensor, labels: Tensor) -> Terms:
    """Computes cross entropy and accuracy over the images that have labels.

    Args:
        logits: float [N, num_classes].
        labels: int64 [N], 0..num_classes - 1 or `UNLABELLED`.

    Returns:
        "label_loss": mean cross entropy in nats, lower is better; "train_accuracy": share of them whose largest logit
        is their label's, 0..1. Both 0 where no image has a label.
    """
    is_labelled = labels >= 0
    entropy = cross_entropy(logits, labels.clamp(min=0), reduction="none")
    hit = (logits.argmax(1) == labels).to(logits.dtype)
    return {"label_loss": mean_where(entropy, is_labelled), "train_accuracy": mean_where(hit, is_labelled)}
