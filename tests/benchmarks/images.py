"""Which images the benchmarks use."""

import os


def source() -> str:
    """Returns the option `dataset`: the Parquet files in the folder that RAY_SSL_CIFAR100 names, else shapes."""
    folder = os.environ.get("RAY_SSL_CIFAR100")
    return f"parquet:{folder}" if folder else "shapes"
