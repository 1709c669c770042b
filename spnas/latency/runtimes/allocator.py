"""Keeps the C library's memory allocator from disturbing times on a CPU."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_GIB, _OLD_LIMIT = 1 << 30, 32 << 20


def keep_freed_memory() -> None:
    """Let the process keep the memory it frees, for good; nothing where the C library is not glibc.

    By default glibc gives blocks of some 100 KB to 32 MB back to the kernel or not, by what was freed before. Each
    forward then pays page faults for its activations, or does not: a 64-channel layer at 80x80 was seen to take twice
    its time in one process and not in the next. See mallopt(3).
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        # Older versions refuse a threshold above 32 MiB.
        if mallopt(_M_MMAP_THRESHOLD, _GIB) or mallopt(_M_MMAP_THRESHOLD, _OLD_LIMIT):
            mallopt(_M_TRIM_THRESHOLD, _GIB)
