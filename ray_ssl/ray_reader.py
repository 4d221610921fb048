"""Decodes streamed images in tasks of Ray Data, ahead of the training that uses them.

Ray Data's own shuffles and splits over workers depend on which task ends first. Here it decodes what it is told, in
the order it is told: order and window are the trial's (see `data/streamed.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ray_ssl.data.base import Dataset
from ray_ssl.data.decode import Images, Rows
from ray_ssl.data.streamed import StreamedSet, prefetched_bytes
from ray_ssl.errors import UserError
from ray_ssl.storage import describe_os_error

if TYPE_CHECKING:  # it imports torch, which is most of a decoding process's memory
    from ray_ssl.batches import Reader


STEP_SECONDS: Final = 0.01
"""Pause of Ray Data's scheduler after each of its steps, many times shorter than a decoding task."""


class _Pause:
    """Lets the scheduler rest, one of Ray Data's execution callbacks.

    It is a thread of the trial, and looks again at once where decoded images wait to be taken: that is most of the
    time, and took the trial more than half of its own (measured with Ray 2.60: 1,200 images/s instead of 3,400).
    """

    def before_execution_starts(self, executor: Any) -> None:
        pass

    def on_execution_step(self, executor: Any) -> None:
        time.sleep(STEP_SECONDS)

    def after_execution_succeeds(self, executor: Any) -> None:
        pass

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        pass


def ray_reader(dataset: Any, num_tasks: int) -> Reader:
    """Returns a reader of the training images of a data set.

    Args:
        dataset: Ray's reference to it.
        num_tasks: That decode at once. They ask for no CPUs: they run on those that the trial holds already, whose
            machine they stay on. A trial that waited for more, beside others, might wait for ever.
    """
    return partial(_read, dataset, num_tasks)


def _read(dataset: Any, num_tasks: int, images: StreamedSet, wanted: Sequence[Rows]) -> Iterator[Images]:
    import ray
    import ray.data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    if not wanted:
        return
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.execution_no_progress_timeout_s = -1  # training takes images as slowly as it likes
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.custom_execution_callback_classes = [_Pause]  # type: ignore[list-item]
    context.execution_options.resource_limits = ray.data.ExecutionResources.for_limits(
        object_store_memory=prefetched_bytes(images.image_size, num_tasks)
    )
    edges = np.cumsum([0, *map(len, wanted)])
    numbers = ray.data.from_items(list(range(len(wanted))), override_num_blocks=len(wanted))
    decoded = numbers.map_batches(
        _decode,  # type: ignore[arg-type]
        batch_size=None,
        compute=ray.data.TaskPoolStrategy(size=num_tasks),
        fn_args=(dataset, ray.put(np.concatenate(wanted)), edges),
        num_cpus=0,
        scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True),
    )
    block: Any
    for block in decoded.iter_batches(batch_size=None, prefetch_batches=1):
        for reason in block["error"]:
            if reason:
                raise UserError(reason)
        yield block["images"]


def _decode(block: dict[str, Any], dataset: Any, rows: Any, edges: Rows) -> Iterator[dict[str, Any]]:
    """What one task does. What is wrong with the data travels as data: Ray Data would print a page of it."""
    import ray

    here: Dataset = ray.get(dataset)
    every: Any = ray.get(rows)
    assert isinstance(here.train, StreamedSet)
    for number in block["item"]:
        try:
            for images in here.train.decoded(every[edges[number] : edges[number + 1]]):
                yield {"images": images, "error": np.full(len(images), "")}
        except (UserError, OSError) as error:
            reason = describe_os_error(error) if isinstance(error, OSError) else str(error)
            size = here.train.image_size
            yield {"images": np.zeros((1, size, size, 3), np.uint8), "error": np.array([reason])}
