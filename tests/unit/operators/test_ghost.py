"""Ghost against GhostNet's module as published, its counts, and what it inherits."""

from __future__ import annotations

import math

import onnx
import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import ConvSite
from spnas.latency.runtimes.onnx_export import export
from spnas.operators import Host
from spnas.operators.ghost import Ghost


class PublishedGhost(nn.Module):
    """GhostModule of the paper: each part is convolution, BatchNorm, ReLU; the two are concatenated and cut."""

    def __init__(self, c_in: int, c_out: int, k: int, expansion: int, stride: int) -> None:
        super().__init__()
        made = math.ceil(c_out / expansion)
        new = made * (expansion - 1)
        self.c_out = c_out
        self.primary_conv = nn.Sequential(
            nn.Conv2d(c_in, made, k, stride, k // 2, bias=False), nn.BatchNorm2d(made), nn.ReLU()
        )
        self.cheap_operation = nn.Sequential(
            nn.Conv2d(made, new, 3, 1, 1, groups=made, bias=False), nn.BatchNorm2d(new), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        x1 = self.primary_conv(x)
        return torch.cat([x1, self.cheap_operation(x1)], 1)[:, : self.c_out]


@pytest.mark.parametrize("applies_act", [False, True])
@pytest.mark.parametrize(("c_in", "c_out", "k", "expansion"), [(8, 8, 3, 2), (5, 7, 5, 3)])
def test_equals_the_published_module(
    c_in: int, c_out: int, k: int, expansion: int, applies_act: bool
) -> None:
    published = PublishedGhost(c_in, c_out, k, expansion, 2)
    host = Host(nn.ReLU(inplace=True), applies_act=applies_act)
    ghost = Ghost(ConvSite("a", c_in, c_out, k, 2, k // 2), host, ratio=1 / expansion)
    ghost.load_state_dict(
        dict(zip(ghost.state_dict(), published.state_dict().values(), strict=True)), strict=True
    )
    x = torch.randn(3, c_in, 9, 9)
    got = ghost(x)  # training mode: batch statistics
    torch.testing.assert_close(torch.relu(got) if applies_act else got, published(x))


@pytest.mark.parametrize("act", [nn.SiLU(inplace=True), nn.Hardswish(), nn.Sigmoid()])
def test_any_activation_is_applied_once_whoever_applies_it(act: nn.Module) -> None:
    site = ConvSite("a", 6, 5, 3)
    inside = Ghost(site, Host(act), ratio=0.5).eval()
    outside = Ghost(site, Host(act, applies_act=True), ratio=0.5).eval()
    outside.load_state_dict(inside.state_dict())
    x = torch.randn(2, 6, 7, 7)
    torch.testing.assert_close(act(outside(x)), inside(x))
    torch.testing.assert_close(act(outside.deploy()(x)), inside.deploy()(x))


@pytest.mark.parametrize(("c_in", "c_out", "k", "expansion"), [(128, 128, 3, 2), (9, 10, 5, 4)])
def test_parameter_count(c_in: int, c_out: int, k: int, expansion: int) -> None:
    ghost = Ghost(ConvSite("a", c_in, c_out, k, 1, k // 2), Host(), ratio=1 / expansion)
    made = math.ceil(c_out / expansion)
    convolutions = c_in * made * k * k + made * (expansion - 1) * 9
    norms = 2 * made * expansion
    assert sum(p.numel() for p in ghost.parameters()) == convolutions + norms
    if (c_in, k) == (128, 3):
        assert round(convolutions / (c_in * c_out * k * k), 3) == 0.504


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.0, 0.75, 0.4, 2.0])
def test_refuses_a_ratio_that_is_not_one_over_an_integer(ratio: float) -> None:
    assert "1/2, 1/3, 1/4" in str(Ghost.refusal(ConvSite("a", 8, 8, 3), ratio=ratio))


def test_a_written_third_is_a_third_and_few_channels_are_refused() -> None:
    assert Ghost.refusal(ConvSite("a", 8, 3, 3), ratio=0.333) is None
    assert "at least 3 output channels, got 2" in str(
        Ghost.refusal(ConvSite("a", 8, 2, 3), ratio=0.333)
    )


def test_inherited_multiples_are_exact_where_filters_are_multiples() -> None:
    """A convolution whose last filters are multiples (negative, too) of its first ones is reproduced whole."""
    conv, bn = nn.Conv2d(6, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
    with torch.no_grad():
        conv.weight[4:] = conv.weight[:4] * torch.tensor([2.0, -0.5, 1.0, -3.0]).view(4, 1, 1, 1)
    nn.init.uniform_(bn.weight, 0.5, 2)
    nn.init.normal_(bn.bias)
    nn.init.zeros_(bn.bias[:4])
    ghost = Ghost(ConvSite("a", 6, 8, 3), Host(), ratio=0.5)
    ghost.inherit(conv, bn)
    x = torch.randn(4, 6, 9, 9)
    torch.testing.assert_close(ghost(x), bn(conv(x)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("c_out", "expansion"), [(c, e) for e in range(2, 6) for c in range(e, 14)]
)
def test_each_cheap_filter_reads_its_own_map_in_both_forms(c_out: int, expansion: int) -> None:
    """Also where as many of them are used as there are maps, but each map is read by several: 4 channels, a third."""
    ghost = Ghost(ConvSite("a", 3, c_out, 3), Host(nn.SiLU()), ratio=1 / expansion).eval()
    x = torch.randn(2, 3, 5, 5)
    for form in ghost.forms(x.shape):
        ghost.form = form
        torch.testing.assert_close(ghost.deploy()(x), ghost(x))


@pytest.mark.parametrize("c_out", [12, 10])
@pytest.mark.parametrize(
    ("ratio", "form"), [(0.5, "repeat"), (0.25, "repeat"), (0.25, "multiplier")]
)
def test_only_what_is_cut_off_is_sliced_in_onnx(c_out: int, ratio: float, form: str) -> None:
    """A slice of everything is a copy in ONNX Runtime; the default form computes nothing that is cut off."""
    ghost = Ghost(ConvSite("a", 8, c_out, 3), Host(nn.SiLU()), ratio=ratio).eval()
    assert form in ghost.forms((1, 8, 6, 6))
    ghost.form = form
    graph = onnx.load_from_string(export(ghost.deploy(), torch.rand(1, 8, 6, 6))).graph
    cut = form == "multiplier" and c_out == 10
    assert ("Slice" in {node.op_type for node in graph.node}) == cut
