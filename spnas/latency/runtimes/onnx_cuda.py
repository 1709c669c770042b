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

_WARNING, _FATAL = 2, 4  # severities of ONNX Runtime's log; the first is its default


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
    model = export(nn.ReLU(), torch.zeros(1))
    onnxruntime.set_default_logger_severity(_FATAL)  # what it would say at length is said in a line
    try:
        # Without fallback TensorRT's absence is an error; CUDA's is not, it is then missing from the session.
        session = onnxruntime.InferenceSession(model, providers=[provider], enable_fallback=0)
    except Exception:  # of several classes without a common one
        return False
    finally:
        onnxruntime.set_default_logger_severity(_WARNING)
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
        exported = export(network, example)
        outputs = [torch.zeros(t.shape, dtype=t.dtype) for t in tensors(network(example))]
        there = [tensor.to(device) for tensor in (example, *outputs)]
        torch.cuda.synchronize(device)
        placed = {
            "device_id": str(there[0].get_device()),
            "user_compute_stream": str(stream.cuda_stream),
        }
        providers: list[Any] = [(provider.name, placed | provider.options)]
        if provider.name != "CUDAExecutionProvider":
            providers.append(("CUDAExecutionProvider", placed))
        session = onnxruntime.InferenceSession(
            exported,
            session_options(threads),
            providers=[*providers, "CPUExecutionProvider"],
            enable_fallback=0,
        )
        return bind(session, there)

    yield DeployedSession(name, device, provider.dtype, cuda_clock(stream), prepare)


def bind(session: Any, tensors_there: list[Tensor]) -> Forward:
    """Give a forward from the first of these contiguous tensors on the device into the others, which it returns."""
    binding = session.io_binding()
    image, *outputs = tensors_there
    binding.bind_input(session.get_inputs()[0].name, *_place(image))
    for output, tensor in zip(session.get_outputs(), outputs, strict=True):
        binding.bind_output(output.name, *_place(tensor))

    def forward() -> object:
        session.run_with_iobinding(binding)
        return tensors_there[1:]  # the input lives on with them: the binding has only its address

    return forward


def _place(tensor: Tensor) -> tuple[str, int, Any, tuple[int, ...], int]:
    """Say where a tensor is, in the words of ONNX Runtime."""
    dtype = tensor.new_empty(0, device="cpu").numpy().dtype.type
    device = tensor.device
    return device.type, device.index or 0, dtype, tuple(tensor.shape), tensor.data_ptr()


CUDA = Provider("CUDAExecutionProvider", "CUDA and cuDNN (pip install onnxruntime-gpu[cuda,cudnn])")
TENSORRT = Provider("TensorrtExecutionProvider", "TensorRT (pip install tensorrt)")
TENSORRT_FP16 = replace(TENSORRT, dtype=torch.float16, options={"trt_fp16_enable": "1"})

for _name, _provider in (
    ("onnxruntime-cuda", CUDA),
    ("tensorrt", TENSORRT),
    ("tensorrt-fp16", TENSORRT_FP16),
):
    register_runtime(_name, ("cuda",), _provider.lacks)(partial(onnx_cuda, _name, _provider))
