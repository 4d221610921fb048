"""What one training on an exact graph of positive pairs computes; see `analysis.graph`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field

from ray_ssl.data_config import DataConfig
from ray_ssl.part import Count, Part, Seed
from ray_ssl.trial_config import TrialConfig

Kind = Literal["table", "network"]
KINDS: Final[tuple[Kind, ...]] = ("table", "network")


class GraphViews(Part):
    """The finite family of views, in the words of `analysis.graph.views.ViewFamily`, which checks them."""

    crop_sizes: tuple[int, ...]
    num_shifts: int
    flip: bool
    resolution: int
    num_levels: int
    stretch: bool
    colour: bool


class GraphConfig(TrialConfig):
    """Features of k dimensions that minimise the spectral contrastive loss on the graph of all images of a set.

    Attributes:
        on: Tells it from other kinds of trials.
        data: The images.
        views: Of them.
        kind: See `analysis.graph.contrastive.Training`, as the following ones.
    """

    STEP: ClassVar[str] = "step"

    on: Literal["graph"] = "graph"
    data: DataConfig
    views: GraphViews
    kind: Kind
    k: Annotated[int, Field(ge=2, lt=2**31)]
    num_steps: Count
    seed: Seed

    @property
    def title(self) -> str:
        return f"{self.method_name} k {self.k} seed {self.seed}"

    @property
    def plain_method(self) -> str:
        return self.method_name

    @property
    def method_name(self) -> str:
        return f"spectral {self.kind}"

    @property
    def num_epochs(self) -> int:
        return self.num_steps

    def paced(self) -> dict[str, Any]:
        return self.to_dict() | {"num_steps": 0, "seed": 0}
