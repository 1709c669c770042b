"""Sites are found by structure."""

from __future__ import annotations

import pytest
from torch import nn

from spnas.networks import get_network, list_sites
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
