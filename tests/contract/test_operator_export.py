"""What torch's exporters and compiler must manage with every operator, and ONNX Runtime with what they export."""

from __future__ import annotations

import copy
import os
import shutil
from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor

from spnas.architecture import Choice

from .operator_cases import difference, example, make, typical
from .test_operators import CHOICES

# Parameters change sizes, not the code that runs; each of these tests takes seconds.
ONE_A_NAME = list({choice.op: choice for choice in CHOICES}.values())
TORCH_EXPORT_OPSET = 18
TORCHSCRIPT_OPSET = 17


@pytest.mark.parametrize("choice", ONE_A_NAME, ids=str)
class TestExport:
    """Exporters and compilers, at odd sizes and stride 2 where pooling could disagree about the last row and column."""

    def test_torch_export_and_its_onnx_form(self, choice: Choice, tmp_path: Path) -> None:
        case = typical(choice)
        deployed, x, path = make(choice, case).eval().deploy(), example(case), tmp_path / "op.onnx"
        expected = deployed(x)
        program = torch.export.export(deployed, (x,))
        torch.testing.assert_close(program.module()(x), expected)
        torch.onnx.export(
            program, dynamo=True, opset_version=TORCH_EXPORT_OPSET, verbose=False
        ).save(path)
        assert difference(run_onnx(path, x, TORCH_EXPORT_OPSET), expected) < 1e-3

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")  # this exporter itself
    @pytest.mark.filterwarnings("ignore:Constant folding:UserWarning")  # of the pads it writes
    def test_torchscript_onnx_form(self, choice: Choice, tmp_path: Path) -> None:
        """A tracer's warning that it baked in a value fails the test, as any warning does."""
        case = typical(choice)
        deployed, x, path = make(choice, case).eval().deploy(), example(case), tmp_path / "op.onnx"
        torch.onnx.export(deployed, (x,), path, dynamo=False, opset_version=TORCHSCRIPT_OPSET)
        assert difference(run_onnx(path, x, TORCHSCRIPT_OPSET), deployed(x)) < 1e-3

    @pytest.mark.skipif(
        not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "clang++")),
        reason="torch.compile needs a C++ compiler",
    )
    def test_compiled_deployed_form(self, choice: Choice) -> None:
        """Inductor's own code, as one graph; scalar, because vector code takes twice as long to compile."""
        case = typical(choice)
        deployed, x = make(choice, case).eval().deploy(), example(case)
        torch.compiler.reset()
        with torch.no_grad(), torch._inductor.config.patch({"cpp.simdlen": 0}):
            got = torch.compile(deployed, fullgraph=True)(x.clone())
            assert difference(got, deployed(x)) < 1e-5

    def test_compiled_training_form(self, choice: Choice) -> None:
        """Captured forward and backward as one graph each, by Inductor's front end alone."""
        case = typical(choice)
        operator, x = make(choice, case), example(case)
        eager = copy.deepcopy(operator)
        torch.compiler.reset()
        got = torch.compile(operator, backend="aot_eager", fullgraph=True)(x.clone())
        expected = eager(x.clone())
        torch.testing.assert_close(got, expected)
        got.square().sum().backward()
        expected.square().sum().backward()
        for one, other in zip(operator.parameters(), eager.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)


def run_onnx(path: Path, x: Tensor, opset: int) -> Tensor:
    """Run an ONNX file on one input, having checked that it is of that opset."""
    imports = {entry.domain: entry.version for entry in onnx.load(path).opset_import}
    assert imports[""] == opset
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return torch.from_numpy(got)
