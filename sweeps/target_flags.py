"""Flags of sweeps on graded randomness: the teacher, and which of its targets networks are trained on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ray_ssl.config import PretrainConfig

RANDOMNESS: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
TRAIN_ON: Final = (0.0, 1.0)
NUM_TEACHER_CHECKPOINTS: Final = 16
DEMO_TEACHER_EPOCHS: Final = 30
TEACHER_SEED: Final = 1000
"""Not one that networks usually have: networks of one seed begin with the same weights, whatever they learn."""

NETWORK: Final = ("depth", "width")


def add_flags(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("targets", "A classifier of the same images, the teacher, gives other labels.")
    group.add_argument(
        "--randomness", nargs="+", type=float, default=list(RANDOMNESS), metavar="X",
        help="levels of randomness, 0 (a trained teacher's predictions) to 1 (an untrained one's), two decimals; each "
        f"also as label noise (default: {' '.join(f'{level:g}' for level in RANDOMNESS)})",
    )  # fmt: skip
    group.add_argument(
        "--train-on", nargs="*", type=float, metavar="X",
        help="of these, the teacher's targets that supervised networks are trained on, each with every seed; nothing "
        f"after the flag: none (default: {' '.join(f'{level:g}' for level in TRAIN_ON)})",
    )  # fmt: skip
    group.add_argument(
        "--teacher-epochs", type=int, metavar="N",
        help="epochs that the teacher trains (default: as --epochs; "
        f"without --dataset and --epochs: {DEMO_TEACHER_EPOCHS})",
    )  # fmt: skip
    group.add_argument(
        "--teacher-checkpoints", type=int, default=NUM_TEACHER_CHECKPOINTS, metavar="N",
        help="checkpoints of the teacher, log-spaced, of which each level takes the nearest (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--teacher-learning-rate", type=float, metavar="X",
        help="peak learning rate of the teacher per 128 images; a lower one has more between its two ends (default: as "
        "--learning-rate, else that of supervised training)",
    )  # fmt: skip
    group.add_argument(
        "--teacher-seed", type=int, default=TEACHER_SEED, metavar="N",
        help="seed of the teacher and of the noise, none of the networks' (default: %(default)s)",
    )  # fmt: skip


def add_network_flags(parser: argparse.ArgumentParser) -> None:
    """Adds those of sweeps over networks."""
    add_flags(parser)
    group = parser.add_argument_group("teacher's network", "The supervised networks on its targets have the same.")
    for name in NETWORK:
        group.add_argument(
            f"--teacher-{name}", type=int, metavar="N",
            help=f"{name} of the teacher (default: the largest of --{name}s when the targets are made)",
        )  # fmt: skip


def teacher_options(given: dict[str, Any], base: PretrainConfig) -> dict[str, Any]:
    """The teacher's options: those of another teacher are other targets."""
    epochs = base.training.epochs if given.keys() & {"data.dataset", "training.epochs"} else DEMO_TEACHER_EPOCHS
    return {
        "teacher.epochs": given["teacher_epochs"] if given["teacher_epochs"] is not None else epochs,
        "teacher.num_checkpoints": given["teacher_checkpoints"],
        "teacher.learning_rate": given["teacher_learning_rate"],
        "teacher.seed": given["teacher_seed"],
    } | {f"teacher.{name}": given[f"teacher_{name}"] for name in NETWORK if f"teacher_{name}" in given}
