"""The networks of the SPConv paper's tables, https://arxiv.org/abs/2006.12085, built and counted by its rule."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spnas.architecture import Architecture
from spnas.latency import count
from spnas.networks import apply_architecture, get_network, list_sites

from .paper_counter import PaperCounts, paper_count

# (network, ratio): parameters, operations under the paper's rule, multiply-accumulates of convolutions and linear
# layers; then the operations and parameters that the paper prints.
TABLE = {
    ("resnet50", None): (25557032, 4135790592, 4089184256, "4.14G", "25.56M"),
    ("resnet50", 0.5): (18345448, 2969758080, 2907439104, "2.97G", "18.34M"),
    ("resnet50", 0.25): (16930792, 2738547072, 2676228096, "2.74G", "16.93M"),
    ("resnet50", 0.125): (16223464, 2622941568, 2560622592, "2.62G", "16.22M"),
    ("resnet20-cifar", None): (272474, 41620800, 40813184, "41.62M", "0.27M"),
    ("resnet20-cifar", 0.5): (105082, 17908352, 15188608, "17.91M", "0.10M"),
    ("resnet20-cifar", 0.25): (71674, 12894848, 10175104, "12.89M", "0.071M"),
    ("vgg16-cifar", 0.5): (5611338, 118267008, 114496512, "118.27M", "5.6M"),
    ("vgg16-cifar", 0.25): (3772746, 79338624, 75568128, "79.34M", "3.77M"),
    ("vgg16-cifar", 0.125): (2853450, 59874432, 56103936, "59.87M", "2.85M"),
}
# Printed otherwise: 349.51M and 16.62M for the plain VGG-16, and 55.14M at ratio 1/16, where the parameters agree
# (2.39M). The construction that gives all the others does not give these.
OTHERS = {
    ("vgg16-cifar", None): (14991946, 315116544, 313463808),
    ("vgg16-cifar", 0.0625): (2393802, 50142336, 46371840),
}


def build(name: str, ratio: float | None) -> nn.Module:
    """Every k x k convolution replaced but the stem, as the paper does; the host's BatchNorm stays after it."""
    model = get_network(name).build()
    if ratio is None:
        return model
    sites = [site.name for site in list_sites(model)][1:]
    choices = dict.fromkeys(sites, f"spconv:{ratio}")
    return apply_architecture(model, Architecture(choices), inherit=False)


@pytest.mark.parametrize(("name", "ratio"), [*TABLE, *OTHERS])
def test_counts_are_exact(name: str, ratio: float | None) -> None:
    model = build(name, ratio)
    imgsz = get_network(name).default_imgsz
    params, paper, macs = (TABLE | OTHERS)[name, ratio][:3]
    assert sum(parameter.numel() for parameter in model.parameters()) == params
    assert paper_count(model, imgsz) == PaperCounts(paper=paper, macs=macs)
    # thop counts BatchNorms and pooling by other rules, and misses means that are no modules.
    found = count(model, imgsz)
    assert found.params == params
    assert macs < found.macs < paper


@pytest.mark.parametrize(("name", "ratio"), TABLE)
def test_counts_are_what_the_paper_prints(name: str, ratio: float | None) -> None:
    params, paper, _, printed, printed_params = TABLE[name, ratio]
    unit = 1e9 if printed.endswith("G") else 1e6
    assert float(printed[:-1]) == round(paper / unit, 2)
    # The paper rounds some of its parameters (25.557 to 25.56) and cuts others (18.345 to 18.34).
    decimals = len(printed_params[:-1].partition(".")[2])
    cut = math.floor(params / 1e6 * 10**decimals) / 10**decimals
    assert float(printed_params[:-1]) in (cut, round(params / 1e6, decimals))


@pytest.mark.parametrize(
    ("module", "paper", "macs"),
    [
        (nn.Conv2d(3, 8, 3, 2, 1, bias=False), 16 * 8 * 27, 16 * 8 * 27),
        (nn.Conv2d(3, 6, 3, 1, 1, groups=3), 64 * 6 * 9 + 64 * 6, 64 * 6 * 9),
        (nn.BatchNorm2d(3), 4 * 3 * 64, 0),
        (nn.AvgPool2d(2), 3 * 3 * 16, 0),
        (nn.AdaptiveAvgPool2d(1), (64 + 1) * 3, 0),
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), 2 * 192 * 5, 192 * 5),
        (nn.Sequential(nn.ReLU(), nn.Softmax(1), nn.MaxPool2d(2)), 0, 0),
    ],
)
def test_the_counter_follows_the_rule(module: nn.Module, paper: int, macs: int) -> None:
    assert paper_count(module, 8) == PaperCounts(paper, macs)


def test_the_counter_refuses_what_it_does_not_know() -> None:
    class Matrix(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ x

    with pytest.raises(NotImplementedError, match="does not know"):
        paper_count(Matrix(), 8)
