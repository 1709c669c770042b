"""VGG-16 with BatchNorm as it is used on CIFAR.

Simonyan and Zisserman, "Very Deep Convolutional Networks", https://arxiv.org/abs/1409.1556, configuration D; the small
head is that of the networks in the SPConv paper's tables, https://arxiv.org/abs/2006.12085.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from spnas.networks.base import Network, register_network

# Output channels of the convolutions, stage by stage; each stage ends with a 2 x 2 max pooling.
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVgg(nn.Module):
    """Thirteen 3 x 3 convolutions with bias, BatchNorm and ReLU, an average over the image, and two linear layers.

    At 32 x 32 pixels the last map is a single pixel. With 10 classes there are 14991946 parameters.

    Args:
        num_classes: Outputs of the last layer.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(*_features())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(512, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
            nn.Linear(512, num_classes),
        )
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, module.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Map images `(N, 3, H, W)` to logits `(N, num_classes)`; H and W at least 32."""
        x = self.avgpool(self.features(x))
        return cast(Tensor, self.classifier(torch.flatten(x, 1)))


def _features() -> Iterator[nn.Module]:
    """Yield the layers before the average."""
    channels = 3
    for stage in _STAGES:
        for out in stage:
            yield nn.Conv2d(channels, out, 3, padding=1)
            yield nn.BatchNorm2d(out)
            yield nn.ReLU(inplace=True)
            channels = out
        yield nn.MaxPool2d(2)


class CifarVggNetwork(Network):
    """VGG-16 for 32 x 32 images."""

    name = "vgg16-cifar"
    kind = "classify"
    default_imgsz = 32
    imgsz_multiple = 32
    latency_batch = 32
    default_classes = 10

    def build(self, num_classes: int | None = None) -> nn.Module:
        """Build the network with fresh weights."""
        return CifarVgg(num_classes or self.default_classes)


register_network(CifarVggNetwork())
