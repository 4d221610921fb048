"""Ray Data's actors: a pool that outlives the death of one, and what each row is answered with."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from analysis.images import MeasuredImages
from analysis.threads import limit_threads
from analysis.warned import recorded
from ray_ssl.checkpoints import DamagedCheckpointError, checkpoint_folder, set_aside
from ray_ssl.ledger import Ledger, TrialState
from ray_ssl.storage import Storage, describe_os_error

MAX_ACTOR_DEATHS = 2

log = logging.getLogger("analysis")


class ActorsDiedError(Exception):
    """Actors died so often that it is no accident."""


@dataclass(frozen=True)
class Pool:
    """Runs Ray Data jobs, one after the other.

    Attributes:
        ledger: Of the sweep.
        images: Reference of the `MeasuredImages`.
        threads: CPUs and threads of each actor.
    """

    ledger: Ledger
    images: Any
    threads: int

    def map(self, actor: type, rows: list[dict[str, Any]], *arguments: Any) -> Iterator[dict[str, Any]]:
        """Yields what actors make of the rows; those that one died with are given to others.

        Args:
            actor: A kind of `Actor`.
            rows: What it is called with.
            arguments: What its constructor takes besides; references of these.

        Raises:
            ActorsDiedError: More than `MAX_ACTOR_DEATHS` times in a row, with nothing done between.
        """
        import ray
        import ray.exceptions

        references, done, deaths = [ray.put(argument) for argument in arguments], set[int](), 0
        while True:
            try:
                for row in self._job(actor, [r | {"row": i} for i, r in enumerate(rows) if i not in done], *references):
                    done.add(row["row"])
                    deaths = 0  # a long analysis on spot nodes loses many of them
                    yield row
                return
            except ray.exceptions.RayError as error:
                log.warning("an analysis process died; its checkpoints are measured again")
                deaths += 1
                if deaths > MAX_ACTOR_DEATHS:
                    reason = str(error).strip().splitlines()[0]
                    raise ActorsDiedError(f"the analysis process died {deaths} times: {reason}") from None

    def _job(self, actor: type, rows: list[dict[str, Any]], *arguments: Any) -> Iterator[dict[str, Any]]:
        """One Ray Data job. Raises RayError where an actor died: restarting is ours, since Ray's prints warnings."""
        import ray
        import ray.data

        total = int(ray.cluster_resources().get("CPU", 1))
        num_actors = max(1, min(len(rows), total // self.threads))
        # The actors together leave a CPU free for Ray Data's own tasks: a pool that holds all of them hangs. Rounded
        # down, because Ray rounds to four digits, and a sum above its budget costs the last actor.
        share = min(self.threads, math.floor(1000 * max(1, total - 1) / num_actors) / 1000) if total > 1 else 0.5
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # max_restarts has no other way in yet
            answers = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                actor,  # type: ignore[arg-type]  # Ray Data's type of a class's call is its constructor's
                fn_constructor_args=(self.ledger.sweep, self.images, self.threads, *arguments),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=num_actors, max_tasks_in_flight_per_actor=1),
                num_cpus=share,
                max_restarts=0,
            )
        yield from answers.iter_rows()


class Actor:
    """An actor of the pool."""

    def __init__(self, sweep: Storage, images: Any, threads: int) -> None:
        import ray

        limit_threads(threads)
        self.ledger = Ledger(sweep)
        self.images: MeasuredImages = ray.get(images)
        self.device = torch.device("cuda" if ray.get_gpu_ids() else "cpu")

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        key, epoch = str(row["key"]), int(row["epoch"])
        damaged, error, found = False, "", None
        with recorded() as warned:
            try:
                try:
                    found = self._answer(key, epoch, row)
                except DamagedCheckpointError as damage:
                    error = f"damaged checkpoint ({damage})"
                    damaged = self._set_aside(key, epoch)
            except Exception as problem:  # one bad checkpoint must not stop the others; it is reported at the end
                error = describe_problem(problem)
        return {
            "key": key, "epoch": epoch, "row": row.get("row"),
            "error": error, "damaged": damaged, "found": found, "warned": json.dumps(warned),
        }  # fmt: skip

    def _answer(self, key: str, epoch: int, row: dict[str, Any]) -> Any:
        """Returns what the stage wants of a row."""
        raise NotImplementedError

    def _set_aside(self, key: str, epoch: int) -> bool:
        """Moves a checkpoint out of the way, unless its trial may be writing it at this moment."""
        ended = self.ledger.state(key) in (TrialState.DONE, TrialState.FAILED, TrialState.STOPPED)
        if ended:
            set_aside(self.ledger.trial(key), checkpoint_folder(epoch))
        return ended


def describe_problem(problem: Exception) -> str:
    """Returns an error as one line."""
    return describe_os_error(problem) if isinstance(problem, OSError) else f"{type(problem).__name__}: {problem}"
