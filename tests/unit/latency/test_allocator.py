"""Where the process's memory lies."""

from __future__ import annotations

import mmap
import platform
from pathlib import Path

import pytest

from spnas.latency.runtimes.allocator import gather_in_huge_pages

MIB = 1 << 20


def kernel() -> tuple[int, ...]:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return (0,)
    return tuple(int(part) for part in platform.release().split(".")[:2])


def huge_pages() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("AnonHugePages"))


@pytest.mark.skipif(kernel() < (6, 1), reason="needs MADV_COLLAPSE, of Linux 6.1")
@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").is_dir(), reason="a kernel without huge pages"
)
def test_memory_in_use_moves_into_huge_pages_and_keeps_its_content() -> None:
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        content = bytes(range(256)) * (4096 // 256)
        for page in range(0, len(memory), 4096):
            memory[page : page + 4096] = content
        memory[:8] = b"a marker"
        before = huge_pages()
        gather_in_huge_pages()
        assert huge_pages() - before > 32 * 1024  # of 64 MiB, at whatever address; in KiB
        assert memory[:8] == b"a marker"
        assert memory[-4096:] == content


def test_it_does_nothing_where_there_is_nothing_to_do() -> None:
    gather_in_huge_pages()
    gather_in_huge_pages()
