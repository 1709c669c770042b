"""ONNX Runtime's execution providers for NVIDIA GPUs: CUDA, and TensorRT in float32 and float16.

Source: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and TensorRT-ExecutionProvider.html
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from spnas.latency.runtimes.base import register_runtime
from spnas.latency.runtimes.clocks import Forward, cuda_clock
from spnas.latency.runtimes.onnx_export import export
from spnas.latency.runtimes.onnx_runtime import session_options
from spnas.latency.runtimes.output_check import tensors
from spnas.latency.runtimes.session import DeployedSession


@dataclass(frozen=True)
class Provider:
    """An execution provider.

    Attributes:
        name: ONNX Runtime's name of it.
        needs: What to install besides onnxruntime-gpu.
        dtype: What it calculates in.
        options: Its options.
    """

    name: str
    needs: str
    dtype: torch.dtype = torch.float32
    options: dict[str, str] = field(default_factory=dict)

    def lacks(self, device: torch.device) -> str | None:
        """Say what is missing for it on this machine."""
        if self.name not in onnxruntime.get_available_providers():
            return (
                f"this ONNX Runtime has no {self.name}, install the one that has "
                "(pip uninstall onnxruntime, then pip install onnxruntime-gpu)"
            )
        return None if _loads(self.name) else f"cannot load its libraries: {self.needs}"


@functools.cache
def _loads(provider: str) -> bool:
    """Say whether a session can be opened with the provider: it may be listed without the libraries it is made of."""
    options = session_options(1)
    options.log_severity_level = 4
    model = export(nn.ReLU(), torch.zeros(1))
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    return provider in session.get_providers()


@contextmanager
def onnx_cuda(
    name: str, provider: Provider, device: torch.device, threads: int
) -> Iterator[DeployedSession]:
    """Open a session on a GPU; input and outputs stay there, and the events are on the stream that it works on.

    What a provider does not know goes to the next: TensorRT, CUDA, CPU.
    """
    # ONNX Runtime takes any stream but the default one, which is number 0.
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def prepare(network: nn.Module, example: Tensor) -> Forward:
        there = [
            example.to(device),
            *(t.to(device).contiguous() for t in tensors(network(example))),
        ]
        torch.cuda.synchronize(device)
        placed = {
            "device_id": str(there[0].get_device()),
            "user_compute_stream": str(stream.cuda_stream),
        }
        providers: list[Any] = [(provider.name, placed | provider.options)]
        if provider.name != "CUDAExecutionProvider":
            providers.append(("CUDAExecutionProvider", placed))
        session = onnxruntime.InferenceSession(
            export(network, example),
            session_options(threads),
            providers=[*providers, "CPUExecutionProvider"],
        )
        return _bound(session, there)

    yield DeployedSession(name, device, provider.dtype, cuda_clock(stream), prepare)


def _bound(session: Any, tensors_there: list[Tensor]) -> Forward:
    """Give a forward from the first of these tensors on the device into the others."""
    binding = session.io_binding()
    image, *outputs = tensors_there
    binding.bind_input(session.get_inputs()[0].name, *_place(image))
    for output, tensor in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_output(output.name, *_place(tensor))

    def forward() -> object:
        session.run_with_iobinding(binding)
        return tensors_there[
            1:
        ]  # and keeps the input alive, of which the binding knows the address only

    return forward


def _place(tensor: Tensor) -> tuple[str, int, Any, tuple[int, ...], int]:
    """Say where a contiguous tensor is, in the words of ONNX Runtime."""
    dtype = tensor.new_empty(0, device="cpu").numpy().dtype.type
    return "cuda", tensor.get_device(), dtype, tuple(tensor.shape), tensor.data_ptr()


CUDA = Provider("CUDAExecutionProvider", "CUDA and cuDNN (pip install onnxruntime-gpu[cuda,cudnn])")
TENSORRT = Provider("TensorrtExecutionProvider", "TensorRT (pip install tensorrt)")
TENSORRT_FP16 = replace(TENSORRT, dtype=torch.float16, options={"trt_fp16_enable": "1"})

for _name, _provider in (
    ("onnxruntime-cuda", CUDA),
    ("tensorrt", TENSORRT),
    ("tensorrt-fp16", TENSORRT_FP16),
):
    register_runtime(_name, ("cuda",), _provider.lacks)(partial(onnx_cuda, _name, _provider))
