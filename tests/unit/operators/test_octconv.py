"""Octave convolution against the paper's equations, its counts, refusals and what it inherits."""

from __future__ import annotations

import io
import warnings

import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from spnas.architecture import ConvSite
from spnas.operators import Host
from spnas.operators.octconv import OctConv, UpsampleLike


def make(
    c_in: int, c_out: int, stride: int = 1, alpha: float = 0.5, k: int = 3, bn: bool = False
) -> OctConv:
    return OctConv(ConvSite("a", c_in, c_out, k, stride, k // 2), Host(bn=bn), alpha=alpha)


def pooled(x: Tensor) -> Tensor:
    """2x2 means; at odd sizes the last row and column are repeated first."""
    even = functional.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
    return (
        even[..., ::2, ::2] + even[..., 1::2, ::2] + even[..., ::2, 1::2] + even[..., 1::2, 1::2]
    ) / 4


def doubled(x: Tensor, height: int, width: int) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)[:, :, :height, :width]


@pytest.mark.parametrize(("c_in", "c_out", "alpha"), [(8, 6, 0.5), (7, 9, 0.25)])
@pytest.mark.parametrize(("height", "width"), [(8, 6), (9, 7), (7, 8), (1, 2)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
def test_equals_the_papers_equations(
    c_in: int, c_out: int, alpha: float, height: int, width: int, stride: int, k: int
) -> None:
    operator = make(c_in, c_out, stride, alpha, k)
    x = torch.randn(2, c_in, height, width)
    split = c_in - int(alpha * c_in)

    def conv(path: nn.Conv2d, y: Tensor) -> Tensor:
        return functional.conv2d(y, path.weight, path.bias, padding=k // 2)

    x_high, x_low = x[:, :split], pooled(x[:, split:])
    if stride == 1:
        from_low = doubled(conv(operator.lh, x_low), height, width)
        y_high = conv(operator.hh, x_high) + from_low
        y_low = conv(operator.ll, x_low) + conv(operator.hl, pooled(x_high))
    else:
        y_high = conv(operator.hh, pooled(x_high)) + conv(operator.lh, x_low)
        y_low = conv(operator.ll, pooled(x_low)) + conv(operator.hl, pooled(pooled(x_high)))
    expected = torch.cat([y_high, doubled(y_low, *y_high.shape[2:])], 1)
    torch.testing.assert_close(operator(x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(operator.deploy()(x), expected, rtol=1e-4, atol=1e-5)


def test_upsampling_repeats_every_pixel_at_any_size() -> None:
    """Torch computes the source of a pixel in float32; it must be half the pixel's number, rounded down."""
    up = UpsampleLike()
    for size in (*range(1, 300), 1023, 1025, 2047):
        line = torch.arange(-(-size // 2), dtype=torch.float32).view(1, 1, 1, -1)
        got = up(line, torch.empty(1, 1, 1, size)).flatten()
        assert torch.equal(got, (torch.arange(size) // 2).float()), size


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize(("height", "width"), [(9, 7), (8, 6)])
def test_stride_1_runs_in_onnxruntime(height: int, width: int, dynamo: bool) -> None:
    deployed, x = make(8, 6, bn=True).eval().deploy(), torch.randn(1, 8, height, width)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(deployed, (x,), file, dynamo=dynamo, opset_version=18, verbose=False)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), deployed(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_as_few_convolutions_as_there_are_inputs_are_deployed(stride: int) -> None:
    deployed = make(8, 6, stride).deploy()
    convolutions = [m for m in deployed.modules() if isinstance(m, nn.Conv2d)]
    assert len(convolutions) == (3 if stride == 1 else 2)


def test_parameters_are_those_of_the_plain_convolution() -> None:
    operator = make(128, 64, bn=True)
    assert sum(p.numel() for p in operator.parameters()) == 128 * 64 * 9 + 2 * 64


@pytest.mark.parametrize(
    ("site", "alpha", "reason"),
    [
        (ConvSite("a", 8, 8, 3, 3), 0.5, "stride 1 or 2, got 3"),
        (ConvSite("a", 8, 8, 3, 1, 0), 0.5, "3x3 with padding 0"),
        (ConvSite("a", 3, 8, 3), 0.25, "0.25 of 3 input channels leaves a part empty"),
        (ConvSite("a", 8, 1, 3), 0.5, "0.5 of 1 output channels leaves a part empty"),
        (ConvSite("a", 8, 8, 3), 0.0, "between 0 and 1, got 0"),
        (ConvSite("a", 8, 8, 3), 1.0, "between 0 and 1, got 1"),
    ],
)
def test_refuses(site: ConvSite, alpha: float, reason: str) -> None:
    assert reason in str(OctConv.refusal(site, alpha=alpha))


def test_dilation_is_taken() -> None:
    site = ConvSite("a", 8, 8, 3, 1, 2, 2)
    assert OctConv(site, Host(), alpha=0.5)(torch.randn(2, 8, 5, 6)).shape == (2, 8, 5, 6)


def test_high_outputs_of_high_inputs_are_inherited_exactly() -> None:
    """Where the kernels on low-frequency channels are zero, the high output channels are the plain ones."""
    conv, bn = nn.Conv2d(8, 6, 3, padding=1), nn.BatchNorm2d(6).eval()
    nn.init.zeros_(conv.weight[:, 4:])
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.running_mean)
    operator = make(8, 6, bn=True).eval()
    operator.inherit(conv, bn)
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(operator(x)[:, :3], bn(conv(x))[:, :3], rtol=1e-4, atol=1e-4)
