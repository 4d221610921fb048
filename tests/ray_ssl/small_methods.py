"""Options that make any method small enough for a test."""

from __future__ import annotations

from typing import Any

from ray_ssl.plugins import plugin_module


def small_options(name: str, batch_size: int) -> dict[str, Any]:
    """Returns the method's name and small values for those of its options that have a size."""
    sizes = {
        "projector_width": 16,
        "embedding_dim": 8,
        "predictor_width": 8,
        "queue_size": 2 * batch_size,
        "num_prototypes": 6,
        "num_small_crops": 2,
        "small_crop_size": 16,
        "whitening_size": batch_size,
    }
    known = plugin_module("ray_ssl.methods", name).Config.model_fields
    return {"name": name} | {option: size for option, size in sizes.items() if option in known}
