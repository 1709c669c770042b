"""Files of exported networks: run in the runtime that they are for, and timed beside each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spnas.latency.isolation import device_lock
from spnas.latency.meter import Measurement, measure_loaded
from spnas.latency.runtimes import Sampler, check_runtime, get_runtime
from spnas.latency.runtimes.clocks import Forward
from spnas.latency.runtimes.onnx_runtime import onnx_forward
from spnas.latency.runtimes.openvino_runtime import openvino_forward
from spnas.latency.runtimes.session import DeployedSession

_CPU = torch.device("cpu")


@dataclass(frozen=True)
class FileFormat:
    """A format of exported networks.

    Attributes:
        runtime: The runtime that runs such files on a CPU.
        open: Makes a file ready to run on an input, float32 on the CPU, with so many threads.
    """

    runtime: str
    open: Callable[[str, Tensor, int], Forward]

    def check(self) -> None:
        """Check that what runs such files is installed.

        Raises:
            ConfigError: It is not; the message tells what to install.
        """
        check_runtime(self.runtime, _CPU)


def _torchscript_forward(file: str, example: Tensor, threads: int) -> Forward:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch.export is to take its place
        network = torch.jit.load(file, map_location=_CPU).eval()  # type: ignore[no-untyped-call]
    return lambda: network(example)


FILE_FORMATS = {
    "onnx": FileFormat("onnxruntime", onnx_forward),
    "openvino": FileFormat("openvino", openvino_forward),
    "torchscript": FileFormat("torch", _torchscript_forward),
}


@torch.inference_mode()
def run_file(path: Path, file_format: str, example: Tensor) -> Any:
    """Give what an exported network gives for an input: tensors or arrays.

    Args:
        path: The file.
        file_format: A name of `FILE_FORMATS`.
        example: An input `(N, C, H, W)`, float32 on the CPU.
    """
    return FILE_FORMATS[file_format].open(str(path), example, 1)()


def measure_files(
    candidate: Path, base: Path, file_format: str, example: Tensor, *, threads: int = 1
) -> Measurement:
    """Measure the latency of an exported network beside that of an exported base network, on the CPU.

    Args:
        candidate: The candidate's file.
        base: The base network's file, in the same format.
        file_format: A name of `FILE_FORMATS`.
        example: An input `(N, C, H, W)`, float32 on the CPU.
        threads: CPU threads to run with.
    """
    known = FILE_FORMATS[file_format]
    with get_runtime(known.runtime)(_CPU, threads) as session:
        assert isinstance(session, DeployedSession)
        return measure_loaded(
            _sampler(session, known, candidate, example, threads),
            _sampler(session, known, base, example, threads),
            session,
            device=_CPU,
            threads=threads,
            exclusive=device_lock(_CPU).exclusive,
        )


def _sampler(
    session: DeployedSession, known: FileFormat, file: Path, example: Tensor, threads: int
) -> Sampler:
    with torch.inference_mode():
        forward = known.open(str(file), example, threads)
        forward()  # as a session's `load` does to check the output: what it allocates is there from then on
    return Sampler(torch.inference_mode()(lambda n: session.timer.sample(forward, n)))
