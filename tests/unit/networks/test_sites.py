"""Sites are found by structure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spnas.networks import deploy_model, get_network, list_sites
from spnas.networks.sites import find_slots


class Block(nn.Module):
    def __init__(self, conv: nn.Conv2d, act: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv
        self.bn = nn.BatchNorm2d(conv.out_channels, eps=1e-3, momentum=0.03)
        self.act = act or nn.SiLU()


def test_yolov8n_sites_are_those_of_the_facts() -> None:
    names = {site.name for site in list_sites(get_network("yolov8n").build())}
    expected = {f"model.{i}" for i in (0, 1, 3, 5, 7, 16, 19)}
    expected |= {f"model.{i}.m.0.cv{j}" for i in (2, 8, 12, 15, 18, 21) for j in (1, 2)}
    expected |= {f"model.{i}.m.{k}.cv{j}" for i in (4, 6) for k in (0, 1) for j in (1, 2)}
    expected |= {f"model.22.cv{i}.{j}.{k}" for i in (2, 3) for j in range(3) for k in (0, 1)}
    assert names == expected


def test_resnet_sites_keep_the_order_of_the_network() -> None:
    names = [site.name for site in list_sites(get_network("resnet18").build())]
    assert names[:4] == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1"]
    assert not any("downsample" in name for name in names)


def test_a_block_tells_what_surrounds_its_convolution() -> None:
    conv = nn.Conv2d(4, 6, 5, stride=2, padding=4, dilation=2)
    (slot,) = find_slots(nn.Sequential(Block(conv)))
    site = slot.site
    assert (site.name, site.in_channels, site.out_channels, site.kernel_size) == ("0", 4, 6, 5)
    assert (site.stride, site.padding, site.dilation) == (2, 4, 2)
    assert (slot.host.bn_eps, slot.host.bn_momentum) == (1e-3, 0.03)
    assert isinstance(slot.host.act, nn.SiLU)
    assert not slot.host.applies_act


def test_an_identity_is_no_activation() -> None:
    (slot,) = find_slots(Block(nn.Conv2d(4, 4, 3), act=nn.Identity()))
    assert slot.host.act is None


@pytest.mark.parametrize(("name", "last"), [("resnet18", "conv2"), ("resnet50", "conv3")])
def test_the_last_convolution_before_the_sum_is_linear(name: str, last: str) -> None:
    slots = find_slots(get_network(name).build())
    for slot in slots:
        linear = slot.site.name.endswith(last)
        assert (slot.host.act is None) == linear, slot.site.name
        assert slot.host.applies_act


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 4, 1),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, (3, 1)),
        nn.Conv2d(4, 4, 3, stride=(1, 2)),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
    ],
)
def test_other_convolutions_are_no_sites(conv: nn.Conv2d) -> None:
    assert list_sites(Block(conv)) == []


def test_a_block_with_another_branch_is_no_site() -> None:
    block = Block(nn.Conv2d(4, 4, 3))
    block.extra = nn.Conv2d(4, 4, 1)
    assert list_sites(block) == []


def sequence(*after: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Identity(), nn.Conv2d(4, 6, 3, bias=True), nn.BatchNorm2d(6), *after)


def test_neighbours_in_a_sequential_are_a_site() -> None:
    act = nn.Hardswish()
    first, second = find_slots(nn.Sequential(sequence(act), sequence(act)))
    assert (first.site.name, first.bn_name) == ("0.1", "0.2")
    assert (second.site.name, second.bn_name) == ("1.1", "1.2")
    assert first.host.act is act
    assert first.host.applies_act


def test_an_activation_that_stands_twice_is_seen_twice() -> None:
    act = nn.ReLU()
    conv = [nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)]
    model = nn.Sequential(conv[0], nn.BatchNorm2d(4), act, conv[1], nn.BatchNorm2d(4), act)
    assert [slot.host.act for slot in find_slots(model)] == [act, act]


@pytest.mark.parametrize("after", [[], [nn.MaxPool2d(2)], [nn.Softmax(1)], [nn.GLU(1)]])
def test_what_is_no_activation_is_not_taken_for_one(after: list[nn.Module]) -> None:
    (slot,) = find_slots(sequence(*after))
    assert slot.host.act is None


def test_order_says_nothing_where_the_parent_has_its_own_forward() -> None:
    class Backwards(nn.Sequential):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for module in reversed(self):
                x = module(x)
            return x

    assert list_sites(Backwards(*sequence())) == []
    deployed = deploy_model(Backwards(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)))
    assert sum(isinstance(module, nn.BatchNorm2d) for module in deployed.modules()) == 2


def test_a_convolution_without_its_batchnorm_next_is_no_site() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3))
    assert list_sites(model) == []


def test_vgg_sites_are_its_thirteen_convolutions() -> None:
    sites = list_sites(get_network("vgg16-cifar").build())
    expected = [0, 3, 7, 10, 14, 17, 20, 24, 27, 30, 34, 37, 40]
    assert [site.name for site in sites] == [f"features.{place}" for place in expected]
    assert all((site.kernel_size, site.stride, site.padding) == (3, 1, 1) for site in sites)
