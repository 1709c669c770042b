"""What every operator must do, whatever it is: run over all registered operators and a grid of sites."""

from __future__ import annotations

import copy
import io
import pickle
from pathlib import Path

import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spnas.architecture import Choice, ConvSite
from spnas.errors import ArchitectureError
from spnas.operators import Host, Operator, build_operator, operator_names, refusal

from .operator_formulas import MACS

CHOICES = [
    Choice.parse(text)
    for text in (
        *("regular", "ghost:0.5", "ghost:0.25", "spconv:0.5", "spconv:0.25", "spconv:0.125"),
        *("gam:reduction=4", "senetv2:reduction=4", "rcs-osa", "mdcr"),
    )
]

# (Cin, Cout, k, stride, H, W): even and odd channels and sizes, each kernel, both strides.
CASES = [
    (8, 8, 3, 1, 8, 8),
    (16, 12, 3, 2, 9, 7),
    (9, 7, 5, 2, 8, 5),
    (8, 5, 7, 1, 3, 2),
    (10, 6, 3, 2, 1, 1),
    # As many input as output channels at stride 1, for what takes nothing else.
    (9, 9, 5, 1, 8, 5),
    (24, 24, 3, 1, 9, 7),
    (12, 12, 3, 1, 1, 1),
]
SQUARE = (16, 16, 3, 1, 9, 7)
HOSTS = {
    "yolo": Host(nn.SiLU(inplace=True), bn_eps=1e-3, bn_momentum=0.03),
    "resnet": Host(nn.ReLU(inplace=True), applies_act=True),
    "smooth": Host(nn.SiLU(inplace=True), applies_act=True),
    "bare": Host(nn.LeakyReLU(0.1), bn=False),
    "linear": Host(),
}


def make_site(c_in: int, c_out: int, k: int, stride: int) -> ConvSite:
    return ConvSite("block.3.conv", c_in, c_out, k, stride, k // 2)


def taken(choice: Choice, *cases: tuple[int, ...]) -> tuple[int, ...]:
    """Give the first of the cases that the operator does not refuse; skip the test where it refuses all."""
    for case in cases:
        if refusal(choice, make_site(*case[:4])) is None:
            return case
    pytest.skip(f"{choice} refuses {cases}")


def make_conv(site: ConvSite, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(
        site.in_channels, site.out_channels, site.kernel_size, site.stride, site.padding, bias=bias
    )


def make(choice: Choice, case: tuple[int, ...], host: Host = HOSTS["yolo"]) -> Operator:
    torch.manual_seed(0)
    operator = build_operator(choice, make_site(*case[:4]), copy.deepcopy(host))
    randomize_norms(operator)
    return operator


def randomize_norms(module: nn.Module) -> None:
    """Give every BatchNorm statistics as training might: negative and zero scales, any mean and variance."""
    for bn in module.modules():
        if isinstance(bn, nn.BatchNorm2d):
            nn.init.normal_(bn.weight)
            nn.init.normal_(bn.bias)
            nn.init.normal_(bn.running_mean)
            nn.init.uniform_(bn.running_var, 0.2, 3)
            with torch.no_grad():
                bn.weight[0] = 0


def example(case: tuple[int, ...], batch: int = 2) -> Tensor:
    return torch.randn(batch, case[0], *case[4:], generator=torch.Generator().manual_seed(1))


def difference(a: Tensor, b: Tensor) -> float:
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-12))


def test_every_registered_operator_is_tested() -> None:
    assert {choice.op for choice in CHOICES} == set(operator_names())


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_every_choice_is_taken_at_several_sites(choice: Choice) -> None:
    """Skipping what an operator refuses must not leave it untested."""
    assert sum(refusal(choice, make_site(*case[:4])) is None for case in CASES) >= 3


@pytest.mark.parametrize("choice", [c for c in CHOICES if c.op in MACS], ids=str)
@pytest.mark.parametrize("case", [*CASES, SQUARE], ids=str)
def test_multiply_accumulates_are_those_of_the_formula(
    choice: Choice, case: tuple[int, ...]
) -> None:
    operator = make(choice, taken(choice, case)).eval()
    counted = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        counted += output.numel() * module.weight[0].numel()

    for module in operator.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    height, width = operator(example(case, batch=1)).shape[2:]
    assert counted == MACS[choice.op](operator.site, height, width, choice.kwargs)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
class TestOperator:
    @pytest.mark.parametrize("host", HOSTS)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_deployed_form_equals_training_form_and_shape(
        self, choice: Choice, case: tuple[int, ...], host: str
    ) -> None:
        operator = make(choice, taken(choice, case), HOSTS[host]).double().eval()
        before = copy.deepcopy(operator.state_dict())
        x = example(case).double()
        deployed = operator.deploy()

        expected = operator(x.clone())
        assert expected.shape == make_conv(operator.site)(x.float()).shape
        torch.testing.assert_close(deployed(x.clone()), expected, rtol=1e-10, atol=1e-10)

        assert not any(isinstance(m, nn.BatchNorm2d) for m in deployed.modules())
        after = operator.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())

    @settings(max_examples=8, derandomize=True, deadline=None)
    @given(
        c_in=st.integers(1, 9),
        c_out=st.integers(1, 9),
        k=st.sampled_from([3, 5, 7]),
        stride=st.integers(1, 2),
        height=st.integers(1, 9),
        width=st.integers(1, 9),
    )
    def test_any_geometry_is_equal_or_refused(
        self, choice: Choice, c_in: int, c_out: int, k: int, stride: int, height: int, width: int
    ) -> None:
        case = (c_in, c_out, k, stride, height, width)
        site = make_site(*case[:4])
        if refusal(choice, site) is not None:
            with pytest.raises(ArchitectureError, match=r"block\.3\.conv"):
                build_operator(choice, site, Host())
            return
        operator = make(choice, case).double().eval()
        x = example(case, batch=1).double()
        y = operator(x)
        assert y.shape == make_conv(site).double()(x).shape
        torch.testing.assert_close(operator.deploy()(x), y, rtol=1e-10, atol=1e-10)

    def test_float32_deployed_form(self, choice: Choice) -> None:
        case = taken(choice, (16, 12, 3, 2, 9, 7), SQUARE)
        operator = make(choice, case).eval()
        x = example(case)
        assert difference(operator.deploy()(x), operator(x)) < 1e-4

    @pytest.mark.parametrize("host", ["yolo", "resnet", "bare"])
    def test_gradients_reach_every_parameter_and_the_input(self, choice: Choice, host: str) -> None:
        case = taken(choice, (8, 8, 3, 2, 9, 9), (8, 8, 3, 1, 9, 9))
        operator = build_operator(choice, make_site(*case[:4]), HOSTS[host])
        x = example(case).requires_grad_()
        y = operator(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        assert x.grad is not None
        assert all(x.grad.abs().sum((0, 2, 3)) > 0), "an input channel is not read"
        for name, parameter in operator.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().max() > 0, name

    @pytest.mark.parametrize("stride", [1, 2])
    def test_inheriting_beats_random_weights(self, choice: Choice, stride: int) -> None:
        taken(choice, (16, 16, 3, stride))
        errors = [self.error_after_inheriting(choice, stride, inherit) for inherit in (True, False)]
        assert errors[0] < 0.8 * errors[1]

    @staticmethod
    def error_after_inheriting(choice: Choice, stride: int, inherit: bool) -> float:
        """Relative error to a plain conv, BatchNorm and activation on low-pass noise, statistics re-estimated."""
        torch.manual_seed(0)
        x = torch.randn(24, 16, 16, 16)
        for _ in range(2):
            x = nn.functional.avg_pool2d(x, 3, 1, padding=1)
        conv = make_conv(make_site(16, 16, 3, stride))
        bn = nn.BatchNorm2d(16)
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        teacher = nn.Sequential(conv, bn, nn.SiLU())
        student = build_operator(choice, make_site(16, 16, 3, stride), Host(nn.SiLU()))
        if inherit:
            student.inherit(conv, bn)
        with torch.no_grad():
            for module in (teacher, student):
                for norm in module.modules():
                    if isinstance(norm, nn.BatchNorm2d):
                        norm.reset_running_stats()
                        norm.momentum = None  # a cumulative average
                module(x)
                module.eval()
            expected, got = teacher(x), student(x)
        spread = expected - expected.mean((0, 2, 3), keepdim=True)
        return float((got - expected).norm() / spread.norm())

    @pytest.mark.parametrize("host", ["yolo", "bare"])
    def test_inherits_from_a_biased_convolution(self, choice: Choice, host: str) -> None:
        """The bias is not lost: an input of zeros gives the bias, or the BatchNorm's image of it."""
        site = make_site(8, 8, 3, 1)
        conv = make_conv(site, bias=True)
        bn = nn.BatchNorm2d(8, eps=1e-3) if HOSTS[host].bn else None
        act = HOSTS[host].act
        assert act is not None
        if bn is not None:
            nn.init.normal_(bn.bias)
            with torch.no_grad():
                bn.running_mean.copy_(conv.bias)
        operator = build_operator(choice, site, HOSTS[host])
        operator.inherit(conv, bn)
        x = torch.zeros(1, 8, 6, 6)
        y = conv(x) if bn is None else bn.eval()(conv(x))
        expected = act(y.clone())
        kept = slice(0, 2)  # ghost's other channels are maps of these
        torch.testing.assert_close(
            operator.eval()(x)[:, kept], expected[:, kept], atol=1e-5, rtol=0
        )

    def test_inheriting_from_zeros_is_finite(self, choice: Choice) -> None:
        """A pruned filter, all zero, must not become a division by zero."""
        site = make_site(8, 8, 3, 1)
        conv = make_conv(site)
        nn.init.zeros_(conv.weight)
        for host in ("yolo", "bare"):
            operator = build_operator(choice, site, HOSTS[host])
            operator.inherit(conv, nn.BatchNorm2d(8) if HOSTS[host].bn else None)
            assert all(torch.isfinite(value).all() for value in operator.state_dict().values())

    def test_copies_and_saved_weights_give_the_same_outputs(self, choice: Choice) -> None:
        case = taken(choice, CASES[1], SQUARE)
        operator = make(choice, case).eval()
        x = example(case)
        expected = operator(x)

        saved = io.BytesIO()
        torch.save(operator.state_dict(), saved)
        saved.seek(0)
        fresh = build_operator(choice, operator.site, HOSTS["yolo"]).eval()
        fresh.load_state_dict(torch.load(saved, weights_only=True))

        unpickled = pickle.loads(pickle.dumps(operator))
        for other in (fresh, unpickled, copy.deepcopy(operator)):
            assert torch.equal(other(x), expected)
        assert unpickled.site == operator.site

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_runs_in_half_precision(self, choice: Choice, dtype: torch.dtype) -> None:
        case = taken(choice, CASES[1], SQUARE)
        operator = make(choice, case).eval()
        x = example(case)
        expected = operator(x)
        for module in (operator.deploy(), operator):
            got = module.to(dtype)(x.to(dtype))
            assert got.dtype == dtype
            assert difference(got.float(), expected) < (0.01 if dtype == torch.float16 else 0.1)

    def test_deployed_form_runs_in_onnxruntime(self, choice: Choice, tmp_path: Path) -> None:
        """At odd sizes and stride 2, where a runtime's pooling could disagree about the last row and column."""
        case = taken(choice, (16, 12, 3, 2, 9, 7), SQUARE)
        operator = make(choice, case).eval()
        deployed, x, path = operator.deploy(), example(case), tmp_path / "operator.onnx"
        torch.onnx.export(deployed, (x,), path, dynamo=True, verbose=False)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), operator(x), rtol=1e-4, atol=1e-5)

    def test_tells_its_channels_to_weight_loaders(self, choice: Choice) -> None:
        case = taken(choice, CASES[1], SQUARE)
        operator = make(choice, case)
        assert (operator.conv.in_channels, operator.conv.out_channels) == case[:2]
