"""Deployed forms chosen by what each takes: by times that are given, and by real ones."""

from __future__ import annotations

import copy
import importlib.util
import json
import linecache
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import spnas
from spnas.architecture import Architecture, Choice, ConvSite
from spnas.errors import SpnasError
from spnas.latency import LayerTimer, choose_forms
from spnas.latency.runtimes import Sample, Sampler, base
from spnas.networks import apply_architecture, get_network
from spnas.operators import Host, Operator, build_operator
from spnas.operators.spconv_forms import (
    Dense,
    GateFirst,
    OutputGate,
    SPConvDeployed,
    Split,
    Strided,
)

CPU = torch.device("cpu")
SITE = ConvSite("a", 16, 16, 3)
# Seconds that a forward of each module takes in the runtime "given"; None: it cannot be run there.
SECONDS: dict[type[nn.Module], float | None] = {}
LOADED: list[str] = []
SAMPLED: Counter[type[nn.Module]] = Counter()


class GivenSession:
    """Knows what everything takes, and drifts: each round takes longer than the one before, for all alike."""

    runtime = "given"
    clock = "wall"
    dtype = torch.float32

    def __init__(self) -> None:
        self.taken = 0

    def load(self, model: nn.Module, example: Tensor) -> Sampler:
        LOADED.append(type(model).__name__)
        seconds = SECONDS.get(type(model), 0.004)
        if seconds is None:
            raise SpnasError("cannot be run")

        def sample(forwards: int) -> Sample:
            self.taken += 1
            SAMPLED[type(model)] += 1
            each = seconds * (1 + 1e-4 * self.taken)
            return Sample(forwards * each, forwards * each)

        return Sampler(sample)


@contextmanager
def given_runtime(device: torch.device, threads: int) -> Iterator[GivenSession]:
    yield GivenSession()


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "_RUNTIMES", dict(base._RUNTIMES))  # the other tests do not know it
    base.register_runtime("given", devices=("cpu",))(given_runtime)
    SECONDS.clear()
    LOADED.clear()
    SAMPLED.clear()


def operator(text: str = "spconv:0.5", site: ConvSite = SITE) -> Operator:
    return build_operator(Choice.parse(text), site, Host(nn.SiLU()))


@pytest.fixture
def timer(tmp_path: Path) -> LayerTimer:
    return LayerTimer(CPU, runtime="given", directory=tmp_path)


def test_the_fastest_form_is_taken_and_timed_beside_the_plain_convolution(
    timer: LayerTimer,
) -> None:
    SECONDS.update({Split: 0.003, Dense: 0.002})
    times = timer.time(operator(), (1, 16, 8, 8))
    assert times.form == "dense"
    assert times.seconds / times.plain_s == pytest.approx(0.5, rel=0.01)
    assert list(times.forms_s) == ["split", "output-gate", "dense", "gate-first", "gate-between"]


def test_what_is_far_slower_than_another_form_is_timed_less_often(timer: LayerTimer) -> None:
    SECONDS.update({Split: 0.006, Dense: 0.002, OutputGate: 0.0023, GateFirst: 0.003})
    times = timer.time(operator(), (1, 16, 8, 8))
    assert (
        SAMPLED[GateFirst] < SAMPLED[OutputGate] == SAMPLED[Dense] == SAMPLED[Split]
    )  # the default
    assert times.forms_s["gate-first"] / times.plain_s == pytest.approx(0.75, rel=0.01)
    assert times.form == "dense"


def test_the_default_stays_unless_another_is_clearly_faster(timer: LayerTimer) -> None:
    SECONDS.update({Split: 0.002, Dense: 0.00198})
    assert timer.time(operator(), (1, 16, 8, 8)).form == "split"


def test_each_layer_is_measured_once(timer: LayerTimer, tmp_path: Path) -> None:
    first = timer.time(operator(), (1, 16, 8, 8))
    count = len(LOADED)
    renamed = operator(site=ConvSite("elsewhere", 16, 16, 3))
    assert timer.time(renamed, (1, 16, 8, 8)) is first
    again = LayerTimer(CPU, runtime="given", directory=tmp_path)
    assert again.time(operator(), (1, 16, 8, 8)) == first
    assert len(LOADED) == count


@pytest.mark.parametrize("what", ["choice", "shape", "batch", "act", "threads"])
def test_what_a_time_depends_on_is_measured_apart(
    what: str, timer: LayerTimer, tmp_path: Path
) -> None:
    timer.time(operator(), (1, 16, 8, 8))
    LOADED.clear()
    if what == "threads":
        timer = LayerTimer(CPU, runtime="given", directory=tmp_path, threads=2)
    host = Host(nn.ReLU() if what == "act" else nn.SiLU())
    text = "spconv:0.25" if what == "choice" else "spconv:0.5"
    shape = (2 if what == "batch" else 1, 16, 8, 10 if what == "shape" else 8)
    timer.time(build_operator(Choice.parse(text), SITE, host), shape)
    assert LOADED


def written(folder: Path, body: str) -> Operator:
    """Make an operator of a class whose file says so; it is otherwise spconv."""
    file = folder / "worked_on.py"
    file.write_text(
        f"from spnas.operators.spconv import SPConv\n\nclass WorkedOn(SPConv):\n    {body}\n"
    )
    linecache.clearcache()  # each of these is another process's
    spec = importlib.util.spec_from_file_location("worked_on", file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["worked_on"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Operator = module.WorkedOn(SITE, Host(nn.SiLU()), ratio=0.5)
    return made


def test_an_operator_that_was_worked_on_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its file's text, and by the forms it has, which may come from elsewhere."""
    monkeypatch.setitem(sys.modules, "worked_on", sys)  # put back as it was
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions within a second
    cache = tmp_path / "cache"
    bodies = ["pass", "pass", "pass  # faster", "pass"]
    measured = []
    for number, body in enumerate(bodies):
        operator = written(tmp_path, body)
        if number == 3:
            monkeypatch.setattr(operator, "forms", lambda shape: ("split", "dense"))
        LOADED.clear()
        LayerTimer(CPU, runtime="given", directory=cache).time(operator, (1, 16, 8, 8))
        measured.append(bool(LOADED))
    assert measured == [True, False, True, True]


def test_a_file_that_cannot_be_read_is_measured_again(timer: LayerTimer, tmp_path: Path) -> None:
    first = timer.time(operator(), (1, 16, 8, 8))
    (file,) = tmp_path.glob("*.json")
    assert json.loads(file.read_text())["key"]["operator"].endswith("spconv:0.5")
    file.write_text("{")
    again = LayerTimer(CPU, runtime="given", directory=tmp_path)
    assert again.time(operator(), (1, 16, 8, 8)).forms_s.keys() == first.forms_s.keys()
    assert json.loads(file.read_text())["forms_s"]


def test_a_form_that_the_runtime_cannot_run_is_passed_over(timer: LayerTimer) -> None:
    SECONDS[Dense] = None
    assert "dense" not in timer.time(operator(), (1, 16, 8, 8)).forms_s
    SECONDS[Split] = None
    with pytest.raises(SpnasError, match="cannot be run"):
        timer.time(operator(), (1, 16, 4, 4))


def test_forms_are_set_where_they_apply(timer: LayerTimer) -> None:
    """Of two sites, one strides over odd sizes, where only two forms apply."""
    SECONDS.update({Dense: 0.001, Strided: 0.0005})
    strided = nn.Sequential(*(operator(site=ConvSite("a", 16, 16, 3, 2)) for _ in range(2)))
    assert choose_forms(strided, torch.rand(1, 16, 6, 6), timer) == {"0": "strided"}
    assert [module.form for module in strided] == ["strided", "split"]


def test_deploy_leaves_the_model_and_gives_the_same_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In ONNX Runtime, with real times and its own check of each form's output."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = get_network("resnet20-cifar").build(4)
    chosen = {"layer1.0.conv1": "spconv:0.5", "layer2.0.conv1": "spconv:0.5"}
    model = apply_architecture(base, Architecture(chosen | {"layer3.0.conv2": "dualconv:0.25"}))
    before, x = copy.deepcopy(model), torch.rand(1, 3, 32, 32)
    deployed = spnas.deploy(model, x, "cpu")
    assert model.training
    assert all(
        module.form == type(module).form
        for module in model.modules()
        if isinstance(module, Operator)
    )
    assert isinstance(deployed.get_submodule("layer1.0.conv1"), SPConvDeployed)
    torch.testing.assert_close(deployed(x), before.eval()(x), rtol=1e-4, atol=1e-4)
    measured = [json.loads(file.read_text()) for file in tmp_path.rglob("*.json")]
    assert sorted(len(one["forms_s"]) for one in measured) == [2, 5, 5]
