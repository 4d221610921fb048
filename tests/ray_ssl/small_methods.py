"""Options that make any method small enough for a test."""

from __future__ import annotations

from typing import Any

from ray_ssl.plugins import plugin_module, plugin_names


def small_options(name: str, batch_size: int) -> dict[str, Any]:
    """Returns the method's name and small values for those of its options that have a size."""
    sizes = {
        "projector_width": 16,
        "embedding_dim": 8,
        "predictor_width": 8,
        "domain_width": 8,
        "queue_size": 2 * batch_size,
        "num_prototypes": 6,
        "num_small_crops": 2,
        "small_crop_size": 16,
        "whitening_size": batch_size,
    }
    known = plugin_module("ray_ssl.methods", name).Config.model_fields
    return {"name": name} | {option: size for option, size in sizes.items() if option in known}


def small_variants(batch_size: int) -> dict[str, dict[str, Any]]:
    """Returns small options of every method, and of those that are computed otherwise in some setting, by a title."""
    changes: dict[str, dict[str, Any]] = {
        "supervised, no augmentation": {"augment": False},
        "moco_v2, one-sided": {"symmetric": False},
        "dcl, weighted": {"weighted": True},
        "swav, two views and no queue": {"num_small_crops": 0, "queue_size": 0},
        "dino, two views": {"num_small_crops": 0},
        "self_training, every guess": {"confidence": 0.0},
        "spectral, not clipped": {"clip_norm": False},
        "w_mse, sub-batches": {"whitening_size": batch_size // 2, "embedding_dim": 4, "num_whitenings": 2},
    }
    others = {title: small_options(title.partition(",")[0], batch_size) | change for title, change in changes.items()}
    return {name: small_options(name, batch_size) for name in plugin_names("ray_ssl.methods")} | others
