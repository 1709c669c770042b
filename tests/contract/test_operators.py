"""What every operator must do, whatever it is: run over all registered operators and a grid of sites.

A site that an operator refuses is skipped, with the operator's own reason. Exporters and compilers are tested in
`test_operator_export.py`.
"""

from __future__ import annotations

import copy
import io
import pickle
from functools import partial

import pytest
import thop
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from thop.vision.basic_hooks import zero_ops
from torch import nn

from spnas.architecture import Choice
from spnas.errors import ArchitectureError
from spnas.operators import Host, Operator, build_operator, operator_names, refusal

from .operator_cases import (
    CASES,
    GRID,
    HOSTS,
    Case,
    difference,
    example,
    make,
    make_conv,
    output_shape,
    skip_if_refused,
    typical,
)
from .operator_formulas import MACS

CHOICES = [
    Choice.parse(text)
    for text in (
        "dualconv:0.25",
        "dwsep",
        "gam:reduction=4",
        "ghost:0.5",
        "ghost:0.25",
        "hetconv:0.25",
        "mdcr",
        "hwd",
        "ldconv:points=5",
        "ldconv:points=11",
        "octconv:alpha=0.5",
        "octconv:alpha=0.25",
        "pconv:0.25",
        "rcs-osa",
        "regular",
        "senetv2:reduction=4",
        "repconv",
        "spconv:0.5",
        "spconv:0.25",
        "spconv:0.125",
    )
]

# What thop counts beside convolution and linear modules, set to zero.
NOT_COUNTED = dict.fromkeys(
    (
        nn.modules.batchnorm._NormBase,
        nn.GroupNorm,
        nn.LayerNorm,
        nn.AvgPool2d,
        nn.AdaptiveAvgPool2d,
        nn.PReLU,
        nn.Softmax,
        nn.Upsample,
        nn.UpsamplingNearest2d,
        nn.UpsamplingBilinear2d,
    ),
    zero_ops,
)


def build_any(choice: Choice) -> Operator:
    """The operator at the first typical site that it takes."""
    return build_operator(choice, typical(choice).site, Host())


def test_every_registered_operator_is_tested() -> None:
    assert {choice.op for choice in CHOICES} == set(operator_names())


@pytest.mark.parametrize("choice", CHOICES, ids=str)
class TestForms:
    """Training form and deployed form are one function, of the plain convolution's shape."""

    @pytest.mark.parametrize("host", HOSTS)
    @pytest.mark.parametrize("case", CASES, ids=str)
    def test_deployed_form_equals_training_form_in_every_host(
        self, choice: Choice, case: Case, host: str
    ) -> None:
        operator = make(choice, case, HOSTS[host]).double().eval()
        before = copy.deepcopy(operator.state_dict())
        x = example(case).double()
        deployed = operator.deploy()

        expected = operator(x.clone())
        assert expected.shape == output_shape(operator.site, x)
        torch.testing.assert_close(deployed(x.clone()), expected, rtol=1e-10, atol=1e-10)

        assert not any(isinstance(m, nn.BatchNorm2d) for m in deployed.modules())
        after = operator.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())

    @pytest.mark.parametrize("host", ["yolo", "bare"])
    def test_every_deployed_form_equals_the_training_form(self, choice: Choice, host: str) -> None:
        """Also on other batch sizes than the one that the form was chosen for."""
        if type(build_any(choice)).forms is Operator.forms:
            pytest.skip("has one deployed form")
        for case in [*CASES, Case(16, 12, 3, 2, 8, 6), Case(16, 16, 5, 1, 2, 1)]:
            if refusal(choice, case.site) is not None:
                continue
            operator = make(choice, case, HOSTS[host]).double().eval()
            x = example(case, batch=3).double()
            forms = operator.forms(x[:1].shape)
            assert forms[0] == operator.form
            assert set(operator.forms(x.shape)) <= set(forms)
            for operator.form in forms:
                deployed = operator.deploy()
                assert not any(isinstance(m, nn.BatchNorm2d) for m in deployed.modules())
                for batch in (x[:1], x):
                    torch.testing.assert_close(
                        deployed(batch), operator(batch), rtol=1e-10, atol=1e-10
                    )

    @pytest.mark.parametrize("case", GRID, ids=str)
    def test_grid(self, choice: Choice, case: Case) -> None:
        """Each image of a batch as alone; the deployed form in every precision and in channels_last."""
        operator = make(choice, case).eval()
        x = example(case)
        deployed = operator.deploy()
        single, expected = operator(x), operator.double()(x.double())
        assert single.shape == output_shape(operator.site, x)
        assert difference(single.double(), expected) < 1e-4
        assert difference(operator(x[1:].double()), expected[1:]) < 1e-10

        assert difference(operator.deploy()(x.double()), expected) < 1e-10
        assert difference(deployed(x), single) < 1e-4
        last = torch.channels_last
        assert difference(deployed.to(memory_format=last)(x.to(memory_format=last)), single) < 1e-4
        half = deployed.bfloat16()(x.bfloat16())
        assert half.dtype == torch.bfloat16
        assert difference(half.float(), single) < 0.1

    @settings(max_examples=12, derandomize=True, deadline=None)
    @given(
        c_in=st.integers(1, 9) | st.sampled_from([12, 16]),
        c_out=st.integers(1, 9) | st.sampled_from([12, 16]),
        k=st.sampled_from([3, 5, 7]),
        stride=st.integers(1, 2),
        height=st.integers(1, 9),
        width=st.integers(1, 9),
    )
    def test_any_size_is_equal_or_refused(
        self, choice: Choice, c_in: int, c_out: int, k: int, stride: int, height: int, width: int
    ) -> None:
        self.check_equal_or_refused(choice, Case(c_in, c_out, k, stride, height, width))

    @settings(max_examples=20, derandomize=True, deadline=None)
    @given(
        channels=st.sampled_from([(16, 12), (16, 16)]),
        k=st.integers(2, 5),
        stride=st.integers(1, 3),
        padding=st.integers(0, 4),
        dilation=st.integers(1, 2),
    )
    def test_any_geometry_is_equal_or_refused(
        self,
        choice: Choice,
        channels: tuple[int, int],
        k: int,
        stride: int,
        padding: int,
        dilation: int,
    ) -> None:
        self.check_equal_or_refused(choice, Case(*channels, k, stride, 9, 10, padding, dilation))

    @staticmethod
    def check_equal_or_refused(choice: Choice, case: Case) -> None:
        if refusal(choice, case.site) is not None:
            with pytest.raises(ArchitectureError, match=r"block\.3\.conv"):
                build_operator(choice, case.site, Host())
            return
        operator = make(choice, case).double().eval()
        x = example(case, batch=1).double()
        y = operator(x)
        assert y.shape == output_shape(case.site, x)
        torch.testing.assert_close(operator.deploy()(x), y, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
    def test_runs_in_half_precision(self, choice: Choice, dtype: torch.dtype) -> None:
        case = typical(choice)
        operator = make(choice, case).eval()
        x = example(case)
        expected = operator(x)
        for module in (operator.deploy(), operator):
            got = module.to(dtype)(x.to(dtype))
            assert got.dtype == dtype
            assert difference(got.float(), expected) < (0.01 if dtype == torch.float16 else 0.1)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
class TestTraining:
    """Gradients, and the start from a trained plain convolution."""

    @pytest.mark.parametrize("host", ["yolo", "resnet", "bare"])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_gradients_reach_every_parameter_and_the_input(
        self, choice: Choice, stride: int, host: str
    ) -> None:
        case = Case(8, 8, 3, stride, 9, 9)
        skip_if_refused(choice, case.site)
        operator = build_operator(choice, case.site, HOSTS[host])
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
    def test_inheriting_beats_random_weights_and_fitting_is_no_worse(
        self, choice: Choice, stride: int
    ) -> None:
        case = Case(16, 16, 3, stride, 16, 16)
        skip_if_refused(choice, case.site)
        random, inherited, fitted = (
            self.error_after(start, choice, case) for start in (None, "inherit", "fit")
        )
        assert inherited < 0.8 * random
        assert fitted <= inherited

    @staticmethod
    def error_after(start: str | None, choice: Choice, case: Case) -> float:
        """Relative error to a plain conv, BatchNorm and activation on low-pass noise, statistics re-estimated."""
        torch.manual_seed(0)
        x = torch.randn(24, case.c_in, case.height, case.width)
        for _ in range(2):
            x = nn.functional.avg_pool2d(x, 3, 1, padding=1)
        conv = make_conv(case.site)
        bn = nn.BatchNorm2d(case.c_out)
        nn.init.uniform_(bn.weight, 0.5, 1.5)
        expected = reestimated(nn.Sequential(conv, bn, nn.SiLU()), x)
        student = build_operator(choice, case.site, Host(nn.SiLU()))
        if start == "inherit":
            student.inherit(conv, bn)
        elif start == "fit":
            student.fit(conv, bn, x)
        got = reestimated(student, x)
        spread = expected - expected.mean((0, 2, 3), keepdim=True)
        return float((got - expected).norm() / spread.norm())

    @pytest.mark.parametrize("host", ["yolo", "bare"])
    def test_inherits_from_a_biased_convolution(self, choice: Choice, host: str) -> None:
        """The bias is not lost: an input of zeros gives the bias, or the BatchNorm's image of it."""
        case = typical(choice)
        conv = make_conv(case.site, bias=True)
        bn = nn.BatchNorm2d(case.c_out, eps=1e-3) if HOSTS[host].bn else None
        act = HOSTS[host].act
        assert act is not None
        if bn is not None:
            nn.init.normal_(bn.bias)
            with torch.no_grad():
                bn.running_mean.copy_(conv.bias)
        operator = build_operator(choice, case.site, HOSTS[host])
        operator.inherit(conv, bn)
        x = torch.zeros_like(example(case, batch=1))
        y = conv(x) if bn is None else bn.eval()(conv(x))
        expected = act(y.clone())
        kept = slice(0, 2)  # ghost's other channels are maps of these
        torch.testing.assert_close(
            operator.eval()(x)[:, kept], expected[:, kept], atol=1e-5, rtol=0
        )

    @pytest.mark.parametrize("host", ["yolo", "bare"])
    def test_starting_from_zeros_is_finite(self, choice: Choice, host: str) -> None:
        """A pruned filter, all zero, must not become a division by zero."""
        case = typical(choice)
        conv = make_conv(case.site)
        nn.init.zeros_(conv.weight)
        operator = build_operator(choice, case.site, HOSTS[host])
        bn = nn.BatchNorm2d(case.c_out) if HOSTS[host].bn else None
        for start in (operator.inherit, partial(operator.fit, inputs=example(case))):
            start(conv, bn)
            assert all(torch.isfinite(value).all() for value in operator.state_dict().values())


@torch.no_grad()
def reestimated(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Give a module's output with the BatchNorm statistics of this very input."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative average
    module(x)
    return module.eval()(x)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
class TestAsAModule:
    """What copies, saves and counts modules can handle it."""

    def test_copies_and_saved_weights_give_the_same_outputs(self, choice: Choice) -> None:
        case = typical(choice)
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

    @pytest.mark.parametrize("case", GRID, ids=str)
    def test_thop_counts_the_closed_formula(self, choice: Choice, case: Case) -> None:
        skip_if_refused(choice, case.site)
        operator = build_operator(choice, case.site, HOSTS["yolo"])
        x = example(case, batch=1)
        counted, _ = thop.profile(operator, (x,), custom_ops=NOT_COUNTED, verbose=False)
        height, width = output_shape(case.site, x)[2:]
        assert counted == MACS[choice.op](case.site, height, width, choice.kwargs)

    def test_tells_its_channels_to_weight_loaders(self, choice: Choice) -> None:
        case = typical(choice)
        operator = make(choice, case)
        assert (operator.conv.in_channels, operator.conv.out_channels) == (case.c_in, case.c_out)
