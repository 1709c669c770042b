"""SPConv against the published layer written out plainly, its exact counts, refusals and what it inherits."""

from __future__ import annotations

import onnx
import pytest
import torch
from thop import profile
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.latency.runtimes.onnx_export import export
from spnas.operators import Host
from spnas.operators.spconv import SPConv, _mixed, _mixed_as_published
from spnas.operators.spconv_forms import FORMS


class PublishedSPConv(nn.Module):
    """The layer as the paper and its authors' code define it, for even sizes and channel counts."""

    def __init__(self, c_in: int, c_out: int, stride: int, ratio: float, k: int = 3) -> None:
        super().__init__()
        self.representative = int(c_in * ratio)
        self.stride = stride
        self.gwc = nn.Conv2d(self.representative, c_out, k, stride, k // 2, groups=2, bias=False)
        self.pwc = nn.Conv2d(self.representative, c_out, 1, bias=False)
        self.conv1x1 = nn.Conv2d(c_in - self.representative, c_out, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        x_3x3, x_1x1 = x[:, : self.representative], x[:, self.representative :]
        out_3x3_gwc = self.gwc(x_3x3)
        if self.stride == 2:
            x_3x3 = nn.functional.avg_pool2d(x_3x3, 2, 2)
            x_1x1 = nn.functional.avg_pool2d(x_1x1, 2, 2)
        out_3x3 = self.bn1(out_3x3_gwc + self.pwc(x_3x3))
        out_1x1 = self.bn2(self.conv1x1(x_1x1))
        pooled = [nn.functional.adaptive_avg_pool2d(out, 1) for out in (out_3x3, out_1x1)]
        share = torch.softmax(torch.stack(pooled, 2), 2)
        return out_3x3 * share[:, :, 0] + out_1x1 * share[:, :, 1]


def make(c_in: int, c_out: int, k: int, stride: int, ratio: float, **host: object) -> SPConv:
    return SPConv(
        ConvSite("a", c_in, c_out, k, stride, k // 2),
        Host(**host),  # type: ignore[arg-type]
        ratio=ratio,
    )


@pytest.mark.parametrize("ratio", [0.5, 0.25, 0.125])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_the_published_layer(stride: int, ratio: float) -> None:
    published = PublishedSPConv(16, 12, stride, ratio).double()
    ours = make(16, 12, 3, stride, ratio, bn=False).double()
    ours.load_state_dict(
        dict(zip(ours.state_dict(), published.state_dict().values(), strict=True)), strict=True
    )
    x = torch.randn(3, 16, 8, 6, dtype=torch.float64)
    torch.testing.assert_close(ours(x), published(x), rtol=1e-12, atol=1e-12)  # batch statistics
    torch.testing.assert_close(ours.eval()(x), published.eval()(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k", "stride"), [(3, 1), (3, 2), (5, 1), (7, 2)])
@pytest.mark.parametrize(("c_in", "c_out", "ratio"), [(64, 128, 0.5), (48, 32, 0.25)])
def test_parameter_count(c_in: int, c_out: int, ratio: float, k: int, stride: int) -> None:
    expected = c_in * c_out * (k * k * ratio / 2 + 1) + c_out + 4 * c_out
    bare = make(c_in, c_out, k, stride, ratio, bn=False)
    assert sum(p.numel() for p in bare.parameters()) == expected
    hosted = make(c_in, c_out, k, stride, ratio)
    assert sum(p.numel() for p in hosted.parameters()) == expected + 2 * c_out


@pytest.mark.parametrize(("ratio", "share"), [(0.5, 0.361), (0.25, 0.236), (0.125, 0.174)])
def test_macs_share_of_a_plain_convolution(ratio: float, share: float) -> None:
    """The convolutions' share of a plain 3x3, as the paper's MACs tables imply it."""
    operator = make(64, 64, 3, 1, ratio)
    macs = 0
    for conv in (operator.gwc, operator.pwc, operator.pw):
        bare = nn.Conv2d(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            padding=conv.padding,
            groups=conv.groups,
            bias=False,
        )
        macs += profile(bare, (torch.zeros(1, conv.in_channels, 8, 8),), verbose=False)[0]
    assert macs == 64 * 64 * (1 + 4.5 * ratio) * 64
    assert round(macs / (64 * 64 * 9 * 64), 3) == share


@pytest.mark.parametrize(("c_in", "c_out", "groups"), [(8, 8, 2), (6, 8, 1), (8, 7, 1)])
def test_groups_are_two_unless_a_count_is_odd(c_in: int, c_out: int, groups: int) -> None:
    assert make(c_in, c_out, 3, 1, 0.5).gwc.groups == groups


def test_odd_sizes_average_over_the_pixels_that_exist() -> None:
    """At 3x3 and stride 2, the last pooled row and column see one pixel less: a constant input stays constant."""
    operator = make(8, 4, 3, 2, 0.5)
    pooled = operator.pool(torch.arange(9.0).view(1, 1, 3, 3))
    assert pooled.flatten().tolist() == [2.0, 3.5, 6.5, 8.0]


@pytest.mark.parametrize("scale", [1e-4, 1e-9, 0.0, -1e-9])
def test_deployed_gate_survives_tiny_host_scales(scale: float) -> None:
    """Pruned channels have scales near zero; the deployed gate divides by them, in half precision too."""
    operator = make(8, 4, 3, 1, 0.5).eval()
    assert operator.bn is not None
    nn.init.constant_(operator.bn.weight, scale)
    nn.init.normal_(operator.bn.bias)
    x = torch.randn(1, 8, 6, 6)
    expected = operator(x)
    torch.testing.assert_close(operator.deploy()(x), expected, rtol=0, atol=1e-6)
    half = operator.deploy().half()(x.half())
    torch.testing.assert_close(half.float(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(
    ("site", "ratio", "reason"),
    [
        (ConvSite("a", 8, 8, 3, 3), 0.5, "stride 1 or 2, got 3"),
        (ConvSite("a", 8, 8, 3, 1, 2, 2), 0.5, "dilation 1, got 2"),
        (ConvSite("a", 8, 8, 3, 1, 0), 0.5, "3x3 with padding 0"),
        (ConvSite("a", 8, 8, 4, 1, 2), 0.5, "4x4 with padding 2"),
        (ConvSite("a", 3, 8, 3), 0.25, "0.25 of 3 input channels leaves a part empty"),
        (ConvSite("a", 1, 8, 3), 0.5, "leaves a part empty"),
        (ConvSite("a", 8, 8, 3), 0.0, "between 0 and 1, got 0"),
        (ConvSite("a", 8, 8, 3), 1.0, "between 0 and 1, got 1"),
    ],
)
def test_refuses(site: ConvSite, ratio: float, reason: str) -> None:
    assert reason in str(SPConv.refusal(site, ratio=ratio))


def test_a_third_written_in_decimals_is_not_rounded_down() -> None:
    assert make(9, 6, 3, 1, 0.333333333333).split == 3


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("has_bn", [True, False])
def test_inherited_branches_add_up_to_the_convolution_on_flat_images(
    stride: int, has_bn: bool
) -> None:
    """Where all pixels under the kernel are alike, the 1x1s lose nothing: at equal gates the sum is exact."""
    conv = nn.Conv2d(8, 6, 3, stride, 1, bias=not has_bn).double()
    bn = nn.BatchNorm2d(6).double().eval() if has_bn else None
    if bn is not None:
        nn.init.normal_(bn.weight)
        nn.init.normal_(bn.running_mean)
        nn.init.uniform_(bn.running_var, 0.5, 2)
    operator = make(8, 6, 3, stride, 0.5, bn=has_bn).double().eval()
    operator.inherit(conv, bn)

    x = torch.randn(2, 8, 1, 1, dtype=torch.float64).expand(-1, -1, 8, 8)
    r, u = x[:, :4], x[:, 4:]
    yr = operator.bn_r(operator.gwc(r) + operator.pwc(operator.pool(r)))
    yu = operator.bn_u(operator.pw(operator.pool(u)))
    mixed = (yr + yu) / 2
    y = mixed if operator.bn is None else operator.bn(mixed)
    plain = conv(x) if bn is None else bn(conv(x))
    inner = (..., slice(1, -1), slice(1, -1))  # zero padding is no flat image
    torch.testing.assert_close(y[inner], plain[inner], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("form", [name for name in FORMS if name != "strided"])
def test_no_deployed_form_chooses_between_values_in_onnx(form: str) -> None:
    """As torch's lerp would: three passes over the outputs where one or two do."""
    operator = make(16, 16, 3, 1, 0.5).eval()
    operator.form = form
    data = export(operator.deploy(), torch.rand(1, 16, 8, 8))
    nodes = {node.op_type for node in onnx.load_from_string(data).graph.node}
    assert "Sigmoid" in nodes
    assert "Where" not in nodes


def test_trained_and_evaluated_the_branches_are_mixed_alike() -> None:
    """In training in fewer passes: the same values, and the same gradients."""
    branches = [torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True) for _ in "ab"]
    weights = torch.randn(3, 4, 5, 6, dtype=torch.float64)
    outputs = [mix(*branches) for mix in (_mixed, _mixed_as_published)]
    torch.testing.assert_close(*outputs)
    gradients = [torch.autograd.grad((y * weights).sum(), branches) for y in outputs]
    torch.testing.assert_close(*gradients)
