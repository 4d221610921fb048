"""A sweep whose images stay in their files, and which several tests look at."""

from tests.sweeps.command import TINY

SIZES = ("--num-images", "200", "--num-test-images", "60")
FLAGS = [flag for flag in TINY if flag not in SIZES]
WINDOW = ["--stream", "--stream-window", "60"]
STREAMED = [*FLAGS, "--widths", "4", "--metrics", "linear_probe", *WINDOW, "--name", "swept"]
