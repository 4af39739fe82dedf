"""How the process gives memory back to the system."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_MMAP_THRESHOLD: Final = -3  # of glibc's malloc.h
LARGE_BLOCK_BYTES: Final = 1 << 20


def return_large_blocks() -> bool:
    """Have the C library map every large block on its own, so that it goes back to the system when it is freed.

    glibc raises this threshold by itself, up to 32 MiB, once such blocks are freed; the buffers of commits then lie on
    the heap among small objects, and what they took is kept for good: 750 MiB were measured where 60 were in use.
    Returns whether the C library knows the setting (others than glibc do not; they have no such habit).
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES) == 1
