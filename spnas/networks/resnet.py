"""The small ResNets of the ResNet paper for CIFAR.

He et al., "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from spnas.networks.base import Network, register_network


class CifarResNet(nn.Module):
    """The ResNet of section 4.2 of the paper: 6n + 2 layers, three stages of n blocks with 16, 32 and 64 channels.

    Shortcuts that change the shape are projections, 1x1 convolution and BatchNorm (option B), so that ResNet-20 has
    272474 parameters with 10 classes.

    Args:
        blocks: n, the blocks of a stage.
        num_classes: Outputs of the last layer.
    """

    def __init__(self, blocks: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(N, 3, H, W)` to logits `(N, num_classes)`."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return cast(Tensor, self.fc(torch.flatten(self.avgpool(x), 1)))


def _stage(in_channels: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    """Make a stage of blocks, the first of which may change the shape."""
    shortcut = None
    if stride != 1 or in_channels != channels:
        shortcut = nn.Sequential(
            nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
        )
    first = BasicBlock(in_channels, channels, stride, downsample=shortcut)
    return nn.Sequential(first, *(BasicBlock(channels, channels) for _ in range(blocks - 1)))


class CifarResNetNetwork(Network):
    """ResNet-20 or 56 for 32 x 32 images."""

    kind = "classify"
    default_imgsz = 32
    latency_batch = 32
    default_classes = 10

    def __init__(self, depth: int) -> None:
        self.blocks = (depth - 2) // 6
        self.name = f"resnet{depth}-cifar"

    def build(self, num_classes: int | None = None) -> nn.Module:
        """Build the network with fresh weights."""
        return CifarResNet(self.blocks, num_classes or self.default_classes)


for _depth in (20, 56):
    register_network(CifarResNetNetwork(_depth))
