"""CUDA graphs: a forward of torch captured once, then replayed by a single call, without Python or launches between.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from spnas.latency.runtimes.base import register_runtime
from spnas.latency.runtimes.clocks import Forward
from spnas.latency.runtimes.session import DeployedSession
from spnas.latency.runtimes.torch_eager import to_device, torch_session

_WARM_UP = 3  # forwards before the capture: what is set up lazily must not be captured


@dataclass(frozen=True)
class _Captured:
    """A captured forward.

    A graph knows addresses only: what it reads, network and image, and what it writes live as long as itself.
    """

    graph: torch.cuda.CUDAGraph
    network: nn.Module
    image: Tensor
    output: object

    def __call__(self) -> object:
        self.graph.replay()
        return self.output


@contextmanager
def cuda_graph(
    name: str, dtype: torch.dtype, device: torch.device, threads: int
) -> Iterator[DeployedSession]:
    """Open a session of torch whose networks are captured when they are loaded; the events are around the replay."""

    def prepare(network: nn.Module, example: Tensor) -> Forward:
        with torch.cuda.device(device):
            return _capture(*to_device(network, example, device, dtype))

    with torch_session(name, dtype, device, threads) as session:
        yield replace(session, prepare=prepare)


def _capture(network: nn.Module, image: Tensor) -> Forward:
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            network(image)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = network(image)
    return _Captured(graph, network, image, output)


for _name, _dtype in (("cuda-graph", torch.float32), ("cuda-graph-fp16", torch.float16)):
    register_runtime(_name, ("cuda",))(partial(cuda_graph, _name, _dtype))
