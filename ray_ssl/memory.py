"""How the C library treats memory that training frees."""

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT_BYTES = 1 << 30
_LARGEST_MMAP_THRESHOLD = 32 << 20  # glibc accepts no more


def keep_freed_memory() -> None:
    """Makes this process keep what it frees, for its next allocation; without effect where the C library isn't glibc.

    Every step on a CPU frees tens of megabytes of activations and asks for them again. glibc returns them to the
    kernel in between, and getting them back page by page took a tenth of a step of a small network.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "gnu_get_libc_version"):
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
