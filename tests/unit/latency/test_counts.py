"""Counted sizes against hand-made and published figures."""

from __future__ import annotations

import copy

import pytest
import torchvision
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from spnas.latency import Counts, count


@pytest.fixture(scope="module")
def yolov8n() -> nn.Module:
    return DetectionModel("yolov8n.yaml", verbose=False)


def test_one_convolution() -> None:
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False)
    assert count(conv, 10) == Counts(params=8 * 3 * 9, macs=5 * 5 * 8 * 3 * 9)


def test_channels_of_the_input() -> None:
    assert count(nn.Conv2d(1, 4, 1, bias=False), 7, channels=1) == Counts(params=4, macs=7 * 7 * 4)


def test_yolov8n_is_as_published_by_ultralytics(yolov8n: nn.Module) -> None:
    """3157200 parameters; 4.37 GMACs (the 8.7 GFLOPs of its table) without BatchNorms, which thop counts too."""
    found = count(yolov8n, 640)
    assert found.params == 3_157_200
    fused = copy.deepcopy(yolov8n).eval().fuse(verbose=False)
    assert count(fused, 640).macs / 1e9 == pytest.approx(4.37, abs=0.005)
    assert found.macs / 1e9 == pytest.approx(4.43, abs=0.005)


def test_resnet50_is_as_published() -> None:
    found = count(torchvision.models.resnet50(), 224)
    assert found.params == 25_557_032
    # 4.0892 G of convolutions and fc; thop adds BatchNorms and pooling.
    assert 4.089e9 < found.macs < 4.14e9


def test_the_network_stays_as_it_is(yolov8n: nn.Module) -> None:
    before = {name: set(module.__dict__) for name, module in yolov8n.named_modules()}
    state = set(yolov8n.state_dict())
    yolov8n.train()
    count(yolov8n, 64)
    assert all(module.training for module in yolov8n.modules())
    assert {name: set(module.__dict__) for name, module in yolov8n.named_modules()} == before
    assert set(yolov8n.state_dict()) == state
    assert not any(module._forward_hooks for module in yolov8n.modules())
