"""Images/s and peak memory of a trial whose images are streamed, beside the same trial with all images in memory.

Both train in a process of their own under Ray, as trials do, with one decoding task where they are streamed; they run
interleaved, each round in new processes, and the best round of each counts. Memory is the proportional set size of the
trial, its decoding task and Ray's object store together, sampled. The stream alone is how fast images come when nothing
trains on them.

    python -m tests.benchmarks.streaming --dataset parquet:PATH_OF_CIFAR100
"""

import argparse
import tempfile
import threading
import time
from typing import Any

import psutil
import ray
import torch

from analysis.command import quiet
from ray_ssl.batches import Share, StreamSource
from ray_ssl.cluster import MachineOptions, ray_session
from ray_ssl.config import PretrainConfig, replace
from ray_ssl.data import load_dataset
from ray_ssl.data.streamed import StreamedSet, prefetched_bytes
from ray_ssl.distributed import World
from ray_ssl.pretrain import pretrain
from ray_ssl.ray_reader import ray_reader
from ray_ssl.storage import Storage

COUNTED = ("raylet", "Trial", "_decode")


class Peak(threading.Thread):
    """Samples the memory of this command's Ray processes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak, self.ended = 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.2):
            total = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    if any(name in process.name() + "".join(process.cmdline()[:1]) for name in COUNTED):
                        total += process.memory_full_info().pss
                except psutil.Error:
                    continue  # it ended meanwhile
            self.peak = max(self.peak, total)


class Trial:
    """A trial's process."""

    def train(self, config: PretrainConfig, dataset: list[Any]) -> float:
        """Images/s of all epochs but the first, in which Ray Data starts its processes."""
        torch.set_num_threads(1)
        reader = ray_reader(dataset[0], 1)
        with tempfile.TemporaryDirectory() as folder:
            trial = Storage.at(folder)
            trained = pretrain(config, ray.get(dataset[0]), trial, lambda metrics: None, reader=reader)
        rates = [metrics["images_per_second"] for metrics in trained.history[1:]]
        return sum(rates) / len(rates)

    def read(self, config: PretrainConfig, dataset: list[Any]) -> float:
        """Images/s of a second epoch's batches."""
        held: Any = ray.get(dataset[0])
        images = held.train
        assert isinstance(images, StreamedSet)
        share = Share(config.seed, config.training.global_batch_size, World(0, 1))
        source = StreamSource(images, share, ray_reader(dataset[0], 1))
        count = sum(len(batch.rows) for batch in source.batches(1))
        started = time.perf_counter()
        count = sum(len(batch.rows) for batch in source.batches(2))
        return count / (time.perf_counter() - started)


def measure(what: str, config: PretrainConfig) -> tuple[float, float]:
    """Images/s and peak MiB, in a Ray session of its own: what one side leaves in memory is not the other's."""
    dataset = load_dataset(config.data)
    held = prefetched_bytes(config.data.image_size, 1)
    with ray_session(MachineOptions(address="local"), dataset.num_bytes + held, nested_train=False):
        _ = dataset.channel_statistics, dataset.fingerprint, dataset.test.sample
        reference, peak = ray.put(dataset), Peak()
        trial = ray.remote(Trial).options(num_cpus=1).remote()  # type: ignore[attr-defined]
        peak.start()
        rate: Any = ray.get(getattr(trial, what).remote(config, [reference]))
        peak.ended.set()
        peak.join()
        return rate, peak.peak / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="parquet:PATH or folder:PATH")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of a trial; the first is not timed")
    parser.add_argument("--num-images", type=int)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--window", type=int, default=8192)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--width", type=int, default=16)
    flags = parser.parse_args()
    quiet()
    data = {"dataset": flags.dataset, "num_images": flags.num_images, "image_size": flags.image_size}
    base = PretrainConfig.from_dict(
        {
            "data": data,
            "backbone": {"name": "res_lh", "depth": flags.depth, "width": flags.width},
            "method": {"name": "vicreg", "projector_width": 256, "embedding_dim": 256},
            "optimiser": {"learning_rate": 1e-3},  # two epochs are no warm-up for more
            "training": {"epochs": flags.epochs, "global_batch_size": 256},
        }
    )
    streamed = replace(base, {"data.stream": True, "data.stream_window": flags.window})
    best: dict[str, tuple[float, float]] = {}
    for _ in range(flags.rounds):
        for name, what, config in (("memory", "train", base), ("stream", "train", streamed),
                                   ("stream alone", "read", streamed)):  # fmt: skip
            rate, peak = measure(what, config)
            print(f"{name}: {rate:.0f} images/s, peak {peak:.0f} MiB", flush=True)
            known = best.get(name, (0.0, 0.0))
            best[name] = max(known[0], rate), max(known[1], peak)
    num_images, num_bytes = len(load_dataset(streamed.data).train), 3 * flags.image_size**2
    window = min(flags.window, num_images)
    print(f"{num_images} images of {flags.image_size} pixels are {num_images * num_bytes / 2**20:.0f} "
          f"MiB; the window holds {window * num_bytes / 2**20:.0f} MiB, at most "
          f"{prefetched_bytes(flags.image_size, 1) / 2**20:.0f} MiB wait for it")  # fmt: skip
    (memory, memory_peak), (stream, stream_peak), (alone, _) = (best[n] for n in ("memory", "stream", "stream alone"))
    print(f"the stream alone gives {alone / memory:.2f} of what the trial in memory takes")
    print(f"peak memory: stream {stream_peak:.0f} MiB, in memory {memory_peak:.0f} MiB")
    print(f"images/s: stream / in memory = {stream / memory:.2f}")


if __name__ == "__main__":
    main()
