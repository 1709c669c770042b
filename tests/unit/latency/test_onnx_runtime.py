from __future__ import annotations

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

import spnas.latency.runtimes.onnx_runtime as onnx_module
from spnas.errors import ConfigError, SpnasError
from spnas.latency import default_runtime, measure
from spnas.latency.runtimes.onnx_runtime import export

CPU = torch.device("cpu")


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1)
    ).eval()


class WithHead(nn.Module):
    """Like Ultralytics' head: one tensor when exported, a tuple with more else."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network(8)
        self.export = False

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        y = self.body(x)
        return y if self.export else (y, {"features": x})


def test_is_the_default_on_a_cpu_and_recorded() -> None:
    assert default_runtime(CPU) == "onnxruntime"
    assert default_runtime(torch.device("cuda:0")) == "torch"
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


def test_another_output_than_torchs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    other = network(8)
    with torch.no_grad():
        next(other.parameters()).mul_(1.1)
    monkeypatch.setattr(onnx_module, "export", lambda _model, example: export(other, example))
    with pytest.raises(SpnasError, match=r"expected torch's output within 0\.001"):
        measure(network(8), network(8), torch.rand(1, 3, 16, 16), device=CPU)


def test_switches_a_heads_export_on_in_a_copy_only() -> None:
    model = WithHead()
    measure(model, model, torch.rand(1, 3, 16, 16), device=CPU, runtime="onnxruntime")
    assert not model.export


def test_refuses_another_device() -> None:
    with pytest.raises(
        ConfigError, match="onnxruntime does not run on cuda:0, expected one of: torch"
    ):
        measure(
            network(8),
            network(8),
            torch.rand(1, 3, 16, 16),
            device=torch.device("cuda:0"),
            runtime="onnxruntime",
        )
