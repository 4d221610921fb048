"""Bounds of mutual information against the truth, and what training the critics side by side saves.

`python -m tests.benchmarks.mutual_information [--pairs 10000] [--threads 1]`

Pairs of correlated Gaussians: every dimension of x with its own of z, correlation rho, mutual information
-d/2 ln(1 - rho^2). "error" is that of the best of the three bounds. A case whose truth is above 0.8 of the ceiling,
ln of the number of test pairs, is marked "*": no bound can show it. Then one layer as a network has them: 3072
inputs, 64 outputs. The last lines are the largest error among the cases below the ceiling, and the seconds of five
critics one after the other over those of five side by side.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from analysis.mutual_information import Estimate, Settings, estimate
from ray_ssl.rng import torch_stream

CASES = [(dims, rho) for dims in (1, 4, 16, 64) for rho in (0.0, 0.3, 0.6, 0.9)]
SHOWN = 0.8
NUM_INPUTS, NUM_OUTPUTS = 3072, 64

Pairs = tuple[Tensor, Tensor]


def gaussians(num_pairs: int, num_dims: int, rho: float, purpose: str) -> Pairs:
    """Returns x and z, float32 [N, D]."""
    x, noise = torch.randn(2, num_pairs, num_dims, generator=torch_stream(0, purpose)).unbind()
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def layer(num_pairs: int, purpose: str) -> Pairs:
    """Returns inputs whose spectrum falls like that of images, and a random layer with ReLU of them."""
    spectrum = torch.arange(1, NUM_INPUTS + 1) ** -0.5
    x = torch.randn(num_pairs, NUM_INPUTS, generator=torch_stream(0, purpose)) * spectrum
    return x, (x @ torch.randn(NUM_INPUTS, NUM_OUTPUTS, generator=torch_stream(0, "layer"))).relu()


def timed(train: Pairs, test: Pairs, settings: Settings) -> tuple[float, Estimate]:
    """Returns the CPU seconds of one estimate, and the estimate."""
    start = time.process_time()
    found = estimate(train, test, settings)
    return time.process_time() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000, help="for training, and as many held out")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{arguments.pairs} pairs; ceiling {math.log(arguments.pairs):.2f} nats; CPU seconds")
    print(f"{'dims':>4} {'rho':>4} {'truth':>7} {'DV':>7} {'(std)':>7} {'InfoNCE':>7} {'NWJ':>7} {'error':>7} {'s':>5}")
    largest = 0.0
    for dims, rho in CASES:
        truth = -dims / 2 * math.log(1 - rho**2)
        seconds, found = timed(
            gaussians(arguments.pairs, dims, rho, "train"), gaussians(arguments.pairs, dims, rho, "test"), Settings()
        )
        means = [values.mean().item() for values in (found.dv, found.infonce, found.nwj)]
        error = min((mean - truth for mean in means), key=abs)
        shown = truth <= SHOWN * found.ceiling
        largest = max(largest, abs(error)) if shown else largest
        print(
            f"{dims:4d} {rho:4.1f} {truth:7.3f} {means[0]:7.3f} {found.dv.std().item():7.3f} {means[1]:7.3f} "
            f"{means[2]:7.3f} {error:+7.3f} {seconds:5.1f}{'' if shown else ' *'}",
            flush=True,
        )
    train, test = layer(arguments.pairs, "train"), layer(arguments.pairs, "test")
    together, found = timed(train, test, Settings())
    print(
        f"layer of {NUM_INPUTS} inputs and {NUM_OUTPUTS} outputs: DV {found.dv.mean().item():.2f}, InfoNCE "
        f"{found.infonce.mean().item():.2f}, NWJ {found.nwj.mean().item():.2f} nats, {together:.1f} s"
    )
    one_by_one = sum(timed(train, test, replace(Settings(), critic_seeds=(seed,)))[0] for seed in range(5))
    print(f"largest error below the ceiling {largest:.3f} nats; one after the other / side by side", end=" ")
    print(f"{one_by_one:.1f} s / {together:.1f} s = {one_by_one / together:.2f} x")


if __name__ == "__main__":
    main()
