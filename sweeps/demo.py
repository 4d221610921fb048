"""What the runs without `--dataset` share, so that VICReg is seen to learn on a laptop within minutes."""

from __future__ import annotations

from typing import Any, Final

SMALL: Final[dict[str, Any]] = {
    "method.projector_width": 128,
    "method.embedding_dim": 128,
    # Many small steps on gentle crops, colours mostly taken away.
    "views.crop_scale": [0.3, 1.0],
    "views.grey_probability": 0.5,
    "training.epochs": 10,
    "training.global_batch_size": 64,
    "training.num_checkpoints": 6,
}
"""For `Sweep.demo`."""
