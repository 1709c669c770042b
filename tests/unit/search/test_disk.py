"""A disk that is full, or read-only, in mid-run: a real small one; told in a line, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spnas.errors import SpnasError
from spnas.runs import RunDirectory
from spnas.search.storage import told_where_unwritable
from spnas.spaces import SearchSpace, load_space

from .test_kills import check_whole, look, sitting

MOMENT = 30  # of those that a sitting tells of


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 16 MB in memory."""
    with tempfile.TemporaryDirectory(prefix="spnas-disk-") as name:
        command = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", name]
        try:
            mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            mounted = False
        if not mounted:
            pytest.skip("a file system cannot be mounted here")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)


def fill(disk: Path) -> None:
    """Leave not a byte."""
    with (disk / "ballast").open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def ends(run: RunDirectory, space: SearchSpace, trouble: Callable[[], None]) -> str:
    """Give what a sitting in a process of its own says when trouble comes in its midst."""
    heard, told = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside torch's threads
        process = os.fork()
    if process == 0:
        told_of = iter(range(10_000))

        def tell() -> None:
            if next(told_of) == MOMENT:
                trouble()

        try:
            with told_where_unwritable(run.path):
                sitting(run.path, space, tell)
        except SpnasError as error:
            os.write(told, str(error).encode())
        except BaseException as error:
            os.write(told, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.close(told)
    os.waitpid(process, 0)
    said = os.read(heard, 10_000).decode()
    os.close(heard)
    return said


@pytest.fixture
def run(disk: Path) -> RunDirectory:
    run = RunDirectory.create(disk, "run")
    run.config.write_text("space: resnet20-cifar\nbudget: 1m\n")
    return run


@pytest.fixture(scope="module")
def large_space() -> SearchSpace:
    """More architectures than are looked at."""
    return load_space("resnet20-cifar")


def goes_on(run: RunDirectory, space: SearchSpace) -> None:
    """Assert that what there was is still there, and that the next sitting comes to the same end as any."""
    before, _ = look(run.path, space)
    assert before
    sitting(run.path, space)
    check_whole(run, space, before)


def test_a_full_disk_is_told_and_loses_nothing(
    disk: Path, run: RunDirectory, large_space: SearchSpace
) -> None:
    said = ends(run, large_space, lambda: fill(disk))
    assert said.startswith(f"run {run.path} cannot be written: ")
    assert "`spnas search --resume` goes on" in said
    assert "\n" not in said
    (disk / "ballast").unlink()
    goes_on(run, large_space)


def test_a_read_only_run_is_told_and_loses_nothing(
    disk: Path, run: RunDirectory, large_space: SearchSpace
) -> None:
    assert ends(run, large_space, lambda: os._exit(0)) == ""
    remount(disk, "ro")
    said = ends(run, large_space, lambda: None)
    assert str(run.path) in said
    assert "Read-only file system" in said
    assert "\n" not in said
    remount(disk, "rw")
    goes_on(run, large_space)
