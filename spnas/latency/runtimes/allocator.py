"""Keeps memory from disturbing times on a CPU: how the C library gets it, and where the kernel places it."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_GIB, _OLD_LIMIT = 1 << 30, 32 << 20
_MADV_COLLAPSE = 25
_HUGE_PAGE = 2 << 20  # bytes, of x86-64 and of arm64 with pages of 4 KB


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


def gather_in_huge_pages() -> None:
    """Move the memory that the process has by now into huge pages; nothing where the kernel cannot (Linux before 6.1).

    Pages of 4 KB lie wherever the kernel had some, and by that contend for the same places in the caches, or do not: a
    network's time over another's differs by a percent from process to process, and stays so within one. Within a huge
    page all lie side by side. See madvise(2).
    """
    with contextlib.suppress(AttributeError, OSError):
        madvise = ctypes.CDLL(None).madvise
        for start, length in _own_memory():
            # Fails for a range that has nothing to move, or finds no huge page: then it stays as it is.
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_COLLAPSE)


def _own_memory() -> Iterator[tuple[int, int]]:
    """Yield start and length of what could be huge pages of the process's private memory, in bytes."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, access, _, _, inode, *name = line.split()
        if access != "rw-p" or inode != "0" or name not in ([], ["[heap]"]):
            continue
        first, last = (int(address, 16) for address in addresses.split("-"))
        start, end = -(-first // _HUGE_PAGE) * _HUGE_PAGE, last // _HUGE_PAGE * _HUGE_PAGE
        if start < end:
            yield start, end - start
