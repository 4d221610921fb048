"""The small networks on top of a backbone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from ray_ssl.config import MethodConfig
from ray_ssl.part import Count


class ProjectorConfig(MethodConfig):
    """Options of methods with a two-layer projector."""

    projector_width: Count = 2048
    """units of the projector's hidden layer"""
    embedding_dim: Annotated[int, Field(ge=2)] = 2048
    """length of the embedding z"""


class PredictorConfig(ProjectorConfig):
    """Options of methods that predict one view's embedding from the other's."""

    predictor_width: Count = 512
    """units of the predictor's hidden layer"""


def mlp(num_features: int, width: int, dim: int) -> nn.Sequential:
    """Two-layer MLP: Linear - BN - ReLU - Linear; the projector of arXiv 2305.15614."""
    return nn.Sequential(
        nn.Linear(num_features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True), nn.Linear(width, dim)
    )
