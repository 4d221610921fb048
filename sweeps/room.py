"""Refuses, before anything starts, what can never fit into memory or on the disk; warns of what may not."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

import torch

from analysis.graph.nodes import MOST_VIEWS
from analysis.settings import AnalysisSettings
from analysis.tasks import GRAPH, SAMPLE, metric_and_group
from ray_ssl.batches import RESIDENT_BYTES
from ray_ssl.cluster import MachineOptions, cluster_to_join
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.data.decode import TooManyError
from ray_ssl.data.shifts import of_extra
from ray_ssl.data.streamed import NUM_SAMPLED, prefetched_bytes
from ray_ssl.data_config import DataConfig
from ray_ssl.errors import UserError
from ray_ssl.ledger import Ledger, Trial, make_trials
from ray_ssl.storage import Storage
from ray_ssl.targets import attach_targets, check_domains, read_targets
from ray_ssl.trainer import check_fits, resolve_precision
from sweeps.cli import Request
from sweeps.data_card import source_hash
from sweeps.footprint import NUM_BYTES, Footprint, footprint, show_bytes, show_count
from sweeps.wanted import runs

NUM_COPIES: Final = 2
"""Of the images in memory: as they were loaded, and in Ray's object store."""
CIFAR_IMAGES: Final = (50_000, 10_000)
CIFAR_CLASSES: Final = {"cifar10": 10, "cifar100": 100}
MANY_PIXELS: Final = 40_000_000
"""Of the embedded images; a core draws about four million a second."""

Parts = list[tuple[str, float]]
"""What needs memory, and how many bytes of it."""

log = logging.getLogger("ray_ssl")


@dataclass(frozen=True)
class DataSizes:
    """How many images of which size.

    Attributes:
        num_held: Images in memory at once, where they are streamed; None: all.
        streamed: What is streamed; None: nothing.
    """

    num_train: int
    num_test: int
    num_classes: int
    image_size: int
    num_held: int | None = None
    streamed: DataConfig | None = None

    @classmethod
    def foretold(cls, config: DataConfig, settings: AnalysisSettings, needs_labels: bool = True) -> DataSizes:
        """Returns the sizes of a data set before it is drawn or decoded, but for the labels of files.

        Args:
            config: With or without a shift.
            settings: Of what is measured.
            needs_labels: See `load_dataset`.

        Raises:
            UserError: What loading finds wrong with files and labels.
        """
        if config.shift:
            return cls._shifted(config, settings)
        asked = (config.num_images, config.num_test_images)
        if config.source == "shapes":
            from ray_ssl.data.shape_outlines import SHAPES
            from ray_ssl.data.shapes import DEFAULT_NUM_IMAGES, DEFAULT_NUM_TEST_IMAGES

            train, test = (a or n for a, n in zip(asked, (DEFAULT_NUM_IMAGES, DEFAULT_NUM_TEST_IMAGES), strict=True))
            return cls(train, test, len(SHAPES), config.image_size)
        if config.source in CIFAR_CLASSES:
            train, test = (min(a or n, n) for a, n in zip(asked, CIFAR_IMAGES, strict=True))
            return cls(train, test, CIFAR_CLASSES[config.source], config.image_size)
        index = load_dataset(config.model_copy(update={"stream": True, "validation_fraction": 0.0}), needs_labels)
        train, test = len(index.train), len(index.test)
        sizes = cls(train, test, len(index.train.fine_names), config.image_size)
        if not config.stream:
            return sizes
        measured = min(train, settings.num_train_images) + min(test, settings.num_test_images)
        sampled = min(train, NUM_SAMPLED[0]) + min(test, NUM_SAMPLED[1])
        return replace(sizes, num_held=sampled + measured, streamed=config)

    @classmethod
    def _shifted(cls, config: DataConfig, settings: AnalysisSettings) -> DataSizes:
        """At most, as classes that one set alone has are left out."""
        from ray_ssl.data.shapes import DEFAULT_NUM_IMAGES

        if config.num_images is None:
            num_train = DEFAULT_NUM_IMAGES + config.num_extra if config.source == "shapes" else None
        else:
            num_train = config.num_images + config.num_extra
        asked, sets = {"num_images": num_train, "num_test_images": config.num_test_images}, config.sets()
        if len(sets) == 1:
            try:
                return cls.foretold(sets[0].model_copy(update=asked), settings)
            except TooManyError as error:
                raise of_extra(error, config) from None
        whole = dict.fromkeys(asked)
        source, target = (
            cls.foretold(one.model_copy(update=whole), settings, needs_labels=one is sets[0]) for one in sets
        )
        train, test = source.num_train + target.num_train, source.num_test + target.num_test
        train, test = min(num_train or train, train), min(config.num_test_images or test, test)
        return cls(train, test, source.num_classes, config.image_size)

    @property
    def num_images(self) -> int:
        """Both splits."""
        return self.num_train + self.num_test

    @property
    def num_bytes(self) -> float:
        """Of all images as they are in memory; of streamed ones, of those that are sampled and that are measured."""
        held = self.num_images if self.num_held is None else self.num_held
        return NUM_COPIES * 3.0 * held * self.image_size**2

    def bytes_per_worker(self, cpus_per_worker: int) -> float:
        """Of streamed images that a worker of a trial holds, see `worker_bytes`; 0 where they are in memory."""
        return 0.0 if self.streamed is None else worker_bytes(self.streamed, self.num_train, cpus_per_worker)


def worker_bytes(config: DataConfig, num_train: int, cpus_per_worker: int) -> float:
    """Returns how much of streamed images a worker of a trial holds at most: its window, and what is decoded ahead."""
    window = 0 if config.source == "folder" else min(config.stream_window, num_train)
    return 3.0 * window * config.image_size**2 + prefetched_bytes(config.image_size, cpus_per_worker)


def load_what_fits(request: Request, ledger: Ledger, num_side_by_side: int) -> Dataset:
    """Returns the images, with the sweep's targets where it has any.

    Raises:
        UserError: They, or a trial on them, can never fit; said before they are drawn or decoded, where that is known.
            The targets are labels of other images.
    """
    sizes = DataSizes.foretold(request.base.data, request.settings)
    check_images(sizes, request.base.data)
    done = {t.config.to_json() for t in ledger.known_trials() if not runs(ledger.state(t.key), request)}
    configs = [Trial("", config) for config in request.grid.configs() if config.to_json() not in done]
    num_measured = pictures_at_once(request.settings, request.tasks, sizes)
    check_memory(configs, sizes, num_measured, request.machine, num_side_by_side)
    if request.base.data.source == "shapes" and sizes.num_images * sizes.image_size**2 > MANY_PIXELS:
        size = sizes.image_size
        print(f"drawing {sizes.num_images} images of {size} x {size} pixels, this takes a while", flush=True)
    dataset = attach_targets(load_once(request.base.data), read_targets(ledger.sweep))
    check_fits(request.base, dataset)
    for config in request.grid.configs():
        check_domains(config, dataset)
    trials = make_trials(request.grid.configs(), dataset.fingerprint)
    if request.search == "grid":
        trials = [t for t in trials if runs(ledger.state(t.key), request)]
    check_disk(trials, len(dataset.train.fine_names), ledger)
    return dataset


def load_once(config: DataConfig, needs_labels: bool = True) -> Dataset:
    """As `load_dataset`; a command that needs the same images twice decodes them once."""
    source = source_hash(config)
    return (
        load_dataset(config, needs_labels) if source is None else _load(config.model_dump_json(), source, needs_labels)
    )


@lru_cache(maxsize=1)
def _load(config: str, source: str, needs_labels: bool) -> Dataset:
    return load_dataset(DataConfig.model_validate_json(config), needs_labels)


def check_images(data: DataSizes, config: DataConfig) -> None:
    """Refuses images that this machine's memory cannot hold.

    Raises:
        UserError: With the arithmetic, and with --stream where that would do.
    """
    there = machine_memory()
    if data.num_bytes > there:
        options = "--num-images, --num-test-images"
        if config.stream:
            options, count = f"sampled, and measured: --num-train-images, {options}", data.num_held
        else:
            count = data.num_images
        advice = "; --stream reads them from their files while training" if config.path and not config.stream else ""
        raise UserError(
            f"the images do not fit into memory: {count} ({options}) x {data.image_size} x {data.image_size} x 3 "
            f"bytes (--image-size) x {NUM_COPIES} copies = {show_bytes(data.num_bytes)}, this machine has "
            f"{show_bytes(there)}{advice}"
        )


def check_memory(
    trials: Sequence[Trial], data: DataSizes, num_measured: int, machine: MachineOptions, num_side_by_side: int
) -> None:
    """Refuses trials that never fit into memory; warns where those side by side may not.

    On a cluster that is joined, memory is its own affair.

    Args:
        trials: Those that are to run.
        data: Their images.
        num_measured: See `pictures_at_once`.
        machine: Where they run.
        num_side_by_side: How many run at once.

    Raises:
        UserError: With the arithmetic.
    """
    if cluster_to_join(machine) is not None:
        return
    on_gpu = torch.cuda.is_available() and machine.gpus_per_worker != 0
    images, there = ("images", data.num_bytes), machine_memory()
    streamed = data.bytes_per_worker(machine.cpus_per_worker)
    alone: list[float] = []
    for trial in trials:
        size = footprint(trial.config, data.num_classes)
        if on_gpu:
            resident = ("images", min(data.num_bytes / NUM_COPIES, RESIDENT_BYTES) if data.num_held is None else 0.0)
            _refuse(trial, size, [*_of_training(trial, size, 1), resident], gpu_memory(machine), "its GPU")
        else:
            parts = _of_training(trial, size, trial.config.num_workers)
            parts.append(("images read ahead (--stream-window)", trial.config.num_workers * streamed))
            alone.append(sum(count for _, count in parts))
            _refuse(trial, size, [*parts, images], there, "this machine")
        _refuse(trial, size, [*_of_analysis(size, num_measured), images], there, "this machine")
    together = sum(sorted(alone)[-num_side_by_side:]) + data.num_bytes
    if together > there:
        log.warning(
            "%d trials side by side need about %s of memory, this machine has %s; a larger --cpus-per-worker or a "
            "smaller --num-cpus runs fewer at once",
            min(num_side_by_side, len(alone)), show_bytes(together), show_bytes(there),
        )  # fmt: skip


def _of_training(trial: Trial, size: Footprint, num_workers: int) -> Parts:
    """What a trial's processes on one device take at least; on GPUs each has a share of the batch."""
    training = trial.config.training
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    narrow = resolve_precision(training.precision, device) == "bf16"
    share = num_workers / trial.config.num_workers
    return [
        (f"weights, gradients and {size.num_moments} moment(s)", num_workers * size.weight_bytes),
        (f"activations of a batch of {training.global_batch_size}", share * size.activation_bytes / (1 + narrow)),
    ]


def pictures_at_once(settings: AnalysisSettings, tasks: Sequence[str], data: DataSizes) -> int:
    """Returns how many pictures the analysis of a checkpoint has the features of at once: those of one level group."""
    plain = min(data.num_train, settings.num_train_images) + min(data.num_test, settings.num_test_images)
    views = min(data.num_train, settings.num_samples) * (settings.num_train_views + settings.num_test_views)
    images = min(data.num_train, settings.num_samples) + min(data.num_test, settings.num_samples)
    nodes = images * MOST_VIEWS  # where no two are the same
    at_once = {SAMPLE: views, GRAPH: nodes}
    return max(at_once.get(metric_and_group(task)[1], plain) for task in tasks)


def _of_analysis(size: Footprint, num_images: int) -> Parts:
    return [
        ("weights", NUM_BYTES * (size.num_parameters + size.num_other)),
        (f"features of {num_images} images in all layers", num_images * size.feature_bytes),
    ]


def _refuse(trial: Trial, size: Footprint, parts: Parts, there: float, where: str) -> None:
    needed = sum(count for _, count in parts)
    if needed > there:
        sums = " + ".join(f"{show_bytes(count)} ({what})" for what, count in parts if count > 0.01 * needed)
        raise UserError(
            f"{trial.name} does not fit into memory: {show_count(size.num_parameters)} parameters; {sums} = "
            f"{show_bytes(needed)}, {where} has {show_bytes(there)}"
        )


def check_disk(trials: Sequence[Trial], num_classes: int, ledger: Ledger) -> None:
    """Refuses trials whose checkpoints never fit on a local disk; warns where those of all together may not.

    Raises:
        UserError: With the arithmetic.
    """
    if not ledger.sweep.is_local:
        return
    free, total = _free_bytes(ledger.sweep), 0.0
    for trial in trials:
        size = footprint(trial.config, num_classes)
        needed = max(0.0, size.disk_bytes - _bytes_in(ledger.trial(trial.key).local_path))
        total += needed
        if needed > free:
            raise UserError(
                f"{trial.name} does not fit on the disk: {show_count(size.num_parameters)} parameters x {NUM_BYTES} "
                f"bytes in its checkpoints (--num-checkpoints) and training states = {show_bytes(needed)}, "
                f"{ledger.sweep.uri} has {show_bytes(free)} free"
            )
    if total > free:
        log.warning(
            "all %d trials need about %s of disk, %s has %s free; what does not fit goes on when there is space",
            len(trials), show_bytes(total), ledger.sweep.uri, show_bytes(free),
        )  # fmt: skip


def machine_memory() -> float:
    """Returns the bytes of memory that this machine (or this container) has."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = Path(name).read_text().strip() if Path(name).is_file() else ""
        limits += [int(text)] if text.isdigit() else []
    return float(min(limits))


def gpu_memory(machine: MachineOptions) -> float:
    """Returns the bytes of GPU memory that one worker may use here."""
    share = 1.0 if machine.gpus_per_worker is None else min(1.0, machine.gpus_per_worker)
    return share * torch.cuda.get_device_properties(0).total_memory


def _free_bytes(storage: Storage) -> float:
    folder = storage.local_path
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return float(usage.free) if usage.total else float("inf")  # a pseudo file system has 0 of 0; writing tells


def _bytes_in(folder: Path) -> float:
    return float(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
