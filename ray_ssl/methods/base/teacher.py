"""A momentum teacher: a copy of the student that follows it as a moving average and gets no gradient."""
# pyright: reportPrivateImportUsage=false
# (torch._foreach_lerp_: one kernel for all weights; torch.optim itself is written with its like.)

from __future__ import annotations

import copy
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

TeacherMomentum = Annotated[float, Field(ge=0, le=1)]


def teacher_of(student: nn.Module) -> nn.Module:
    """Returns a copy with the student's weights, none of which requires a gradient."""
    return copy.deepcopy(student).requires_grad_(False)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves every weight of the teacher: teacher <- momentum teacher + (1 - momentum) student.

    Buffers stay: batch norms of the teacher keep statistics of their own.
    """
    theirs: list[Tensor] = list(teacher.parameters())
    torch._foreach_lerp_(theirs, list(student.parameters()), 1 - momentum)


def cosine_momentum(start: float, progress: float) -> float:
    """Returns the momentum that rises from `start` to 1 along a half cosine (arXiv 2006.07733, section 3.3).

    Args:
        start: At the beginning of training.
        progress: Share of training done, 0..1.
    """
    return 1 - (1 - start) * (math.cos(math.pi * progress) + 1) / 2
