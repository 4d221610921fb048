"""Speed of the views against torchvision and kornia: `python -m tests.benchmarks.views`.

All three run the same SimCLR protocol on the same uint8 images: torchvision image by image on PIL images in this
one process, as users write it; kornia on the batch, with parameters by image; ours on the batch. The rounds are
interleaved and the best of each counts, so that a busy machine disturbs all alike. RAY_SSL_CIFAR100 names the
folder of the CIFAR-100 Parquet files; without it the images are random.
"""

import os
import time
from argparse import ArgumentParser
from collections.abc import Callable

import kornia.augmentation as K
import torch
import torchvision.transforms.v2 as T
from PIL import Image
from torch import Tensor

from ray_ssl.config import ViewConfig
from ray_ssl.data_config import DataConfig
from ray_ssl.views import augment

SIZE = 32
MEAN, STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
NEEDED = {"torchvision": 6, "kornia": 2}


def load_images(num_images: int) -> tuple[str, Tensor]:
    """Returns where the images are from and uint8 [B, 32, 32, 3]."""
    if folder := os.environ.get("RAY_SSL_CIFAR100"):
        from ray_ssl.data import load_dataset

        images = load_dataset(DataConfig(dataset=f"parquet:{folder}", num_images=num_images)).train.images
        return "CIFAR-100", torch.from_numpy(images.copy())
    return "random images", torch.randint(0, 256, (num_images, SIZE, SIZE, 3), dtype=torch.uint8)


def ours(images: Tensor, config: ViewConfig) -> Callable[[], Tensor]:
    generator = torch.Generator().manual_seed(0)
    return lambda: augment(images, config, SIZE, generator, MEAN, STD)


def torchvision(images: Tensor, config: ViewConfig) -> Callable[[], Tensor]:
    pil_images = [Image.fromarray(image.numpy()) for image in images]
    jitter = T.ColorJitter(config.brightness, config.contrast, config.saturation, config.hue)
    transform = T.Compose(
        [
            T.RandomResizedCrop(SIZE, config.crop_scale, config.crop_ratio),
            T.RandomHorizontalFlip(config.flip_probability),
            T.RandomApply([jitter], config.jitter_probability),
            T.RandomGrayscale(config.grey_probability),
            T.ToImage(),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize(MEAN, STD),
        ]
    )
    return lambda: torch.stack([transform(image) for image in pil_images])


def kornia(images: Tensor, config: ViewConfig) -> Callable[[], Tensor]:
    strengths = (config.brightness, config.contrast, config.saturation, config.hue)
    transform = K.AugmentationSequential(
        K.RandomResizedCrop((SIZE, SIZE), config.crop_scale, config.crop_ratio, same_on_batch=False),
        K.RandomHorizontalFlip(p=config.flip_probability, same_on_batch=False),
        K.ColorJitter(*strengths, p=config.jitter_probability, same_on_batch=False),
        K.RandomGrayscale(p=config.grey_probability, same_on_batch=False),
        K.Normalize(torch.tensor(MEAN), torch.tensor(STD)),
        data_keys=["input"],
    )
    return lambda: transform(images.permute(0, 3, 1, 2).float().div(255))


def views_per_second(makers: dict[str, Callable[[], Tensor]], num_images: int, rounds: int) -> dict[str, float]:
    """Returns the best of several interleaved rounds."""
    best = dict.fromkeys(makers, float("inf"))
    for _ in range(rounds + 1):  # the first is slow for all and never the best
        for name, make in makers.items():
            start = time.perf_counter()
            make()
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: num_images / seconds for name, seconds in best.items()}


def main() -> None:
    """Prints a table of views/s by number of threads, then the ratios."""
    parser = ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--batch", type=int, default=512, help="images a batch (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=15, help="interleaved rounds (default %(default)s)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    args = parser.parse_args()
    source, images = load_images(args.batch)
    config = ViewConfig()
    makers = {maker.__name__: maker(images, config) for maker in (ours, torchvision, kornia)}
    print(f"{source}, {SIZE} x {SIZE}, batches of {args.batch}, {os.cpu_count()} cores, best of {args.rounds}")
    print(f"{'threads':>8}" + "".join(f"{name + ' views/s':>22}" for name in makers))
    speeds = {}
    for threads in args.threads:
        torch.set_num_threads(threads)
        speeds[threads] = views_per_second(makers, len(images), args.rounds)
        print(f"{threads:>8}" + "".join(f"{speed:>22,.0f}" for speed in speeds[threads].values()))
    for threads, speed in speeds.items():
        ratios = [f"{speed['ours'] / speed[n]:.1f} x {n} (needed {least})" for n, least in NEEDED.items()]
        print(f"ours with {threads} thread{'s' if threads > 1 else ''}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
