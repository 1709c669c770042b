from __future__ import annotations

import onnxruntime
import torch
from torch import nn

from spnas.latency import measure
from spnas.latency.runtimes.onnx_cuda import bind
from spnas.latency.runtimes.onnx_export import export

CPU = torch.device("cpu")


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
    ).eval()


def test_is_recorded_where_none_is_asked_for() -> None:
    result = measure(network(8), network(8), torch.rand(1, 3, 32, 32), device=CPU)
    assert (result.runtime, result.clock) == ("onnxruntime", "thread_cpu")


def test_ten_times_the_work_takes_longer() -> None:
    example = torch.rand(1, 3, 48, 48)
    result = measure(network(64), network(8), example, device=CPU, runtime="onnxruntime")
    assert result.ratio > 1.5


def test_exports_what_torch_computes() -> None:
    model, example = network(8), torch.rand(2, 3, 17, 17)
    session = onnxruntime.InferenceSession(
        export(model, example), providers=["CPUExecutionProvider"]
    )
    output = session.run(None, {session.get_inputs()[0].name: example.numpy()})[0]
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(output), model(example), rtol=1e-4, atol=1e-5)


def test_runs_between_tensors_that_stay_where_they_are() -> None:
    """As on a GPU; here they are on the CPU."""
    model, example = network(8), torch.rand(2, 3, 17, 17)
    session = onnxruntime.InferenceSession(
        export(model, example), providers=["CPUExecutionProvider"]
    )
    output = torch.zeros(2, 8, 17, 17)
    (found,) = bind(session, [example, output])()  # type: ignore[misc]
    assert found is output
    with torch.inference_mode():
        torch.testing.assert_close(output, model(example), rtol=1e-4, atol=1e-5)
