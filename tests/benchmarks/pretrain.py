"""Images/s of the whole pretraining loop against its own limit and against lightly.

The limit is the same network, loss and optimiser in the same precision on one fixed batch in memory. lightly's side
is VICReg as its documentation shows it: its transform, a DataLoader with two workers, a plain PyTorch loop; with our
network, and in a process of its own, so that nothing we set for this one helps it. The three run interleaved, and the
best round of each counts.

    RAY_SSL_CIFAR100=FOLDER python -m tests.benchmarks.pretrain
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from lightly.loss import VICRegLoss
from lightly.transforms.vicreg_transform import VICRegTransform
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from ray_ssl.backbones.base import build_backbone
from ray_ssl.config import PretrainConfig
from ray_ssl.data import Dataset, load_dataset
from ray_ssl.methods.base import mlp
from ray_ssl.pretrain import pretrain
from ray_ssl.storage import Storage
from ray_ssl.trainer import Trainer
from tests.benchmarks.images import source

BATCH_SIZE = 256
NETWORKS = ((2, 16, 256), (2, 16, 2048), (5, 64, 256), (5, 64, 2048))


def configuration(depth: int, width: int, dim: int, num_images: int, epochs: int) -> PretrainConfig:
    return PretrainConfig.from_dict(
        {
            "data": {"dataset": source(), "num_images": num_images},
            "backbone": {"name": "res_lh", "depth": depth, "width": width},
            "method": {"name": "vicreg", "projector_width": dim, "embedding_dim": dim},
            "optimiser": {"learning_rate": 1e-3},  # two epochs are no warm-up for more
            "training": {"epochs": epochs, "global_batch_size": BATCH_SIZE},
        }
    )


def ours(config: PretrainConfig, dataset: Dataset) -> float:
    """Images/s from the end of the first epoch to the end of the last, all that a trial does included."""
    ends: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        pretrain(config, dataset, Storage.at(folder), lambda metrics: ends.append(time.perf_counter()))
    return (len(ends) - 1) * len(dataset.train) / (ends[-1] - ends[0])


def limit(config: PretrainConfig, dataset: Dataset, seconds: float) -> float:
    """Images/s of steps on one batch whose views are made before."""
    trainer = Trainer(config, dataset, torch.device("cpu"))
    inputs = next(trainer.inputs(1))
    return rate(lambda: trainer.step(inputs, 1, 0), seconds)


class Pictures(TorchDataset[tuple[list[Tensor], int]]):
    """CIFAR as torchvision gives it: PIL images, transformed one by one."""

    def __init__(self, dataset: Dataset) -> None:
        self.images = [Image.fromarray(image) for image in dataset.train.images]
        self.transform = VICRegTransform(input_size=32)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[list[Tensor], int]:
        return [torch.as_tensor(view) for view in self.transform(self.images[row])], row


def lightly_loop(config: PretrainConfig, dataset: Dataset, dim: int, seconds: float) -> float:
    """Images/s of the documented loop, from its second batch on."""
    backbone = build_backbone(config.backbone, 32)
    model = nn.Sequential(backbone, mlp(backbone.num_features, dim, dim))
    criterion, optimiser = VICRegLoss(), torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9)
    loader = DataLoader(Pictures(dataset), batch_size=BATCH_SIZE, shuffle=True, drop_last=True, num_workers=2)

    def batches() -> Iterator[list[Tensor]]:
        for _ in itertools.count():
            for views, _rows in loader:
                yield views

    stream = batches()

    def step() -> None:
        x0, x1 = next(stream)
        loss = criterion(model(x0), model(x1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return rate(step, seconds)


def in_own_process(function: Callable[..., float], *args: Any) -> float:
    """Calls a module-level function in a fresh process with this one's number of threads."""
    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
        return pool.submit(function, *args).result()


def rate(step: Callable[[], object], seconds: float) -> float:
    """Images/s of a step, its first call not counted."""
    step()
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds or count < 3:
        step()
        count += 1
    return count * BATCH_SIZE / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--num-images", type=int, default=40_960)
    parser.add_argument("--networks", type=int, nargs="+", default=range(len(NETWORKS)), help="of 0 1 2 3")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each limit and each lightly round")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    print(f"batch {BATCH_SIZE}, {flags.threads} thread(s), best of {flags.rounds} interleaved rounds, images/s")
    lines = []
    for depth, width, dim in (NETWORKS[number] for number in flags.networks):
        config = configuration(depth, width, dim, flags.num_images, epochs=2)
        dataset = load_dataset(config.data)
        best = [0.0, 0.0, 0.0]
        for _ in range(flags.rounds):
            now = (
                ours(config, dataset),
                limit(config, dataset, flags.seconds),
                in_own_process(lightly_loop, config, dataset, dim, flags.seconds),
            )
            best = [max(pair) for pair in zip(best, now, strict=True)]
        a, b, c = best
        print(f"RES-{depth}-{width}, projector {dim}-{dim}: ours {a:.0f}, limit {b:.0f}, lightly {c:.0f}", flush=True)
        lines.append(f"RES-{depth}-{width}, {dim}-{dim}: {a / b:.2f} of the limit, {a / c:.1f} x lightly")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
