"""Every runtime: right output, wrong output, clock, refusals."""

from __future__ import annotations

import copy
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from spnas.errors import ConfigError, SpnasError
from spnas.latency import Protocol, check_runtime, default_runtime, measure, runtime_names
from spnas.latency.runtimes import Session, get_runtime
from spnas.latency.runtimes.session import DeployedSession

CPU, CUDA = torch.device("cpu"), torch.device("cuda:0")
CPU_RUNTIMES = {
    "onnxruntime": torch.float32,
    "openvino": torch.float32,
    "openvino-bf16": torch.bfloat16,
    "torch": torch.float32,
    "torch-bf16": torch.bfloat16,
    "torch-compile": torch.float32,
}
CUDA_RUNTIMES = {
    "cuda-graph": torch.float32,
    "cuda-graph-fp16": torch.float16,
    "onnxruntime-cuda": torch.float32,
    "tensorrt": torch.float32,
    "tensorrt-fp16": torch.float16,
    "torch": torch.float32,
    "torch-bf16": torch.bfloat16,
    "torch-compile": torch.float32,
    "torch-fp16": torch.float16,
}
IMAGE = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
QUICK = Protocol(sample_s=0.01, warmup_s=0.2, rounds=7, enough_s=0.3)


def network(width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.SiLU(), nn.Conv2d(width, 8, 3, stride=2)).eval()


class WithHead(nn.Module):
    """Like Ultralytics' head: one tensor when exported, a tuple with more else."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()
        self.export = False

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        y: Tensor = self.body(x)
        return y if self.export else (y, {"features": x})


class Different(nn.Module):
    """Gives something else where it can tell that it is not run by torch on the CPU in float32."""

    def __init__(self, told: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.body, self.told = network(), told

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return 1.3 * y if self.told(x) else y


TELLS: dict[str, Callable[[Tensor], bool]] = {
    "onnxruntime": lambda x: torch.onnx.is_in_onnx_export(),
    "openvino": lambda x: torch.onnx.is_in_onnx_export(),
    "openvino-bf16": lambda x: torch.onnx.is_in_onnx_export(),
    "torch": lambda x: x.stride(1) == 1,  # channels_last
    "torch-bf16": lambda x: x.dtype == torch.bfloat16,
    "torch-compile": lambda x: torch.compiler.is_compiling(),
}


def in_runtime_on_cuda(x: Tensor) -> bool:
    """Whether it is run by the runtime: what is expected of it is calculated there too, but in true float32."""
    return x.is_cuda and (x.dtype != torch.float32 or torch.backends.cudnn.allow_tf32)


@contextmanager
def opened(name: str, device: torch.device = CPU, threads: int = 1) -> Iterator[Session]:
    """Open a session; skip the test where something for the runtime is not installed."""
    try:
        check_runtime(name, device)
    except ConfigError as lacking:
        pytest.skip(str(lacking))
    with get_runtime(name)(device, threads) as session:
        yield session


@pytest.mark.parametrize("name", CPU_RUNTIMES)
def test_runs_what_torch_runs(name: str) -> None:
    model = WithHead()
    before = copy.deepcopy(model.state_dict())
    with opened(name) as session:
        sampler = session.load(model, IMAGE)
        assert (session.runtime, session.clock, session.dtype) == (
            name,
            "thread_cpu",
            CPU_RUNTIMES[name],
        )
        sample = sampler(2)
    # Half precision is seen, float32's own rounding is far below what is allowed.
    half = CPU_RUNTIMES[name] == torch.bfloat16
    assert 1e-4 < sampler.max_error < 2e-2 if half else sampler.max_error < 1e-5
    assert sample.wall_s > 0
    assert sample.clock_s > 0
    assert not model.export
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert IMAGE.is_contiguous()


@pytest.mark.parametrize("name", CPU_RUNTIMES)
def test_another_output_than_torchs_is_an_error(name: str) -> None:
    with opened(name) as session, pytest.raises(SpnasError, match=f"runtime {name}: expected"):
        session.load(Different(TELLS[name]), IMAGE)


@pytest.mark.parametrize("name", CPU_RUNTIMES)
def test_one_threads_work_is_done_in_the_calling_thread(name: str) -> None:
    """So its CPU time is all there is to count."""
    with opened(name) as session:
        sampler = session.load(network(48), torch.rand(1, 3, 96, 96))
        sampler(2)
        own, all_threads = time.thread_time(), time.process_time()
        sampler(20)
        own, all_threads = time.thread_time() - own, time.process_time() - all_threads
    assert own > 0.8 * all_threads


@pytest.mark.parametrize("name", [name for name in CPU_RUNTIMES if name != "torch-compile"])
def test_more_threads_are_measured_on_the_wall_clock(name: str) -> None:
    with opened(name, threads=2) as session:
        assert session.clock == "wall"
        assert session.load(network(), IMAGE)(1).clock_s > 0


def test_a_measurement_tells_dtype_and_error() -> None:
    found = measure(network(), network(), IMAGE, device=CPU, runtime="torch-bf16", protocol=QUICK)
    assert (found.runtime, found.dtype) == ("torch-bf16", "bfloat16")
    assert 1e-4 < found.max_error < 2e-2


def test_many_networks_of_one_class_are_all_compiled() -> None:
    """By default torch compiles a module's forward for some of its instances and leaves all others as they are."""

    class OnlyCompiled(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, x: Tensor) -> Tensor:
            left_as_it_is = x.stride(1) == 1 and not torch.compiler.is_compiling()
            return -x if left_as_it_is else self.factor * x

    with opened("torch-compile") as session, torch._dynamo.config.patch(recompile_limit=2):
        for factor in range(1, 4):
            session.load(OnlyCompiled(factor), IMAGE)


def test_what_a_runtime_cannot_run_is_told_in_a_line() -> None:
    """Whatever it raises: torch's exporter has errors of its own for what ONNX does not have."""

    class Unknown(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.linalg.matrix_exp(x)

    with (
        opened("onnxruntime") as session,
        pytest.raises(SpnasError, match=r"the runtime onnxruntime cannot run the network: .+"),
    ):
        session.load(Unknown(), torch.rand(1, 3, 4, 4))


def test_the_default_is_what_needs_nothing_more() -> None:
    assert default_runtime(CPU) == "onnxruntime"
    assert default_runtime(CUDA) == "cuda-graph-fp16"
    assert default_runtime(torch.device("mps")) == "torch"
    check_runtime("onnxruntime", CPU)


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_a_runtime_of_another_device_is_refused(device: torch.device) -> None:
    fitting = CPU_RUNTIMES if device == CPU else CUDA_RUNTIMES
    for name in set(runtime_names()) - set(fitting):
        with pytest.raises(ConfigError) as refused:
            check_runtime(name, device)
        assert str(refused.value) == (
            f"runtime {name} does not run on {device}, expected one of: {', '.join(fitting)}"
        )


def test_a_missing_package_is_told_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(
        ConfigError, match=r"runtime openvino .*\(pip install 'spnas\[openvino\]'\)"
    ):
        check_runtime("openvino", CPU)


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ConfigError, match=r"torch-compile .*no C\+\+ compiler 'no-such-compiler'"):
        measure(network(), network(), IMAGE, device=CPU, runtime="torch-compile")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
@pytest.mark.parametrize("name", ["onnxruntime-cuda", "tensorrt", "tensorrt-fp16"])
def test_a_missing_provider_is_told_with_its_installation(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"runtime {name} cannot be used on cuda:0: .*pip "):
        check_runtime(name, CUDA)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CUDA_RUNTIMES)
def test_cuda_runtimes_run_what_torch_runs(name: str) -> None:
    with opened(name, CUDA) as session:
        sampler = session.load(WithHead(), IMAGE)
        assert (session.clock, session.dtype) == ("cuda_event", CUDA_RUNTIMES[name])
        assert 0 < sampler(3).clock_s <= sampler(3).wall_s * 2
    assert sampler.max_error < (2e-2 if CUDA_RUNTIMES[name] == torch.bfloat16 else 5e-3)
    found = measure(network(), network(), IMAGE, device=CUDA, runtime=name, protocol=QUICK)
    assert found.ratio == pytest.approx(1.0, abs=0.3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", CUDA_RUNTIMES)
def test_another_output_on_cuda_is_an_error(name: str) -> None:
    exported = name.startswith(("onnx", "tensorrt"))
    told = TELLS["onnxruntime"] if exported else in_runtime_on_cuda
    with (
        opened(name, CUDA) as session,
        pytest.raises(SpnasError, match=f"runtime {name}: expected"),
    ):
        session.load(Different(told), IMAGE)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_graph_keeps_what_it_reads() -> None:
    """A graph knows addresses only: freed weights are given to others, or to nobody, and read all the same."""
    with get_runtime("cuda-graph")(CUDA, 1) as session:
        assert isinstance(session, DeployedSession)
        with torch.inference_mode():
            forward = session.prepare(network(), IMAGE)
            gc.collect()
            torch.cuda.empty_cache()
            others = [torch.full((1 << 20,), float("nan"), device=CUDA) for _ in range(64)]
            output = forward()
    assert isinstance(output, Tensor)
    assert len(others) == 64
    torch.testing.assert_close(output.cpu(), network()(IMAGE), rtol=1e-2, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_graph_is_faster_than_its_launches() -> None:
    """Sixty small kernels: launched one by one they wait for Python."""
    model = nn.Sequential(*(nn.Conv2d(8, 8, 1) for _ in range(60))).eval()
    image = torch.rand(1, 8, 8, 8)
    times = {}
    for name in ("torch", "cuda-graph"):
        with opened(name, CUDA) as session:
            sampler = session.load(model, image)
            sampler(5)
            times[name] = sampler(20).clock_s
    assert times["cuda-graph"] < 0.7 * times["torch"]
