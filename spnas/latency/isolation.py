"""Keeps trainings off a device while latency is measured on it, between processes of one host."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


class DeviceLock:
    """A readers-writer lock on files: trainings share it batch by batch, a measurement has it alone.

    A measurement first closes a gate (`intent`), so that no new batch starts, then waits for the batches that run. So
    busy trainings cannot starve it, and a training waits no longer than the measurement. The kernel frees the locks
    of a process that dies in any way, by flock(2). Held by file handles, not by processes: it works between threads
    too, and a thread that holds it one way must not ask for it the other way.

    An instance holds no open file and pickles by its folder, so that workers on one host get it by value. File names
    carry the host's name: hosts that share a file system do not wait for each other's devices.

    Args:
        directory: A folder for the lock files, one folder a device; made where it is missing.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    @contextmanager
    def shared(self) -> Iterator[float]:
        """Hold the device together with other trainings; yields the seconds waited for measurements."""
        start = time.perf_counter()
        with self._hold("device", fcntl.LOCK_SH, gated=True):
            yield time.perf_counter() - start

    @contextmanager
    def exclusive(self) -> Iterator[float]:
        """Hold the device alone; yields the seconds waited for batches to end and for other measurements."""
        start = time.perf_counter()
        with self._hold("intent", fcntl.LOCK_EX), self._hold("device", fcntl.LOCK_EX):
            yield time.perf_counter() - start

    @contextmanager
    def _hold(self, name: str, operation: int, gated: bool = False) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"{socket.gethostname()}.{name}.lock"
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if gated:
                with self._hold("intent", fcntl.LOCK_SH):
                    fcntl.flock(handle, operation)
            else:
                fcntl.flock(handle, operation)
            yield
        finally:
            # Explicitly, since a data loader's forked worker may have the same open file and live on.
            fcntl.flock(handle, fcntl.LOCK_UN)
            os.close(handle)

    def __repr__(self) -> str:
        """Show the folder."""
        return f"DeviceLock({str(self.directory)!r})"


def device_lock(device: torch.device) -> DeviceLock:
    """Give the lock that keeps trainings off a device while latency is measured on it: one a device and host."""
    # A GPU's number depends on what CUDA_VISIBLE_DEVICES shows a process; its UUID does not.
    which = torch.cuda.get_device_properties(device).uuid if device.type == "cuda" else 0
    name = f"spnas-{os.getuid()}-{device.type}-{which}"
    return DeviceLock(Path(tempfile.gettempdir()) / name)
