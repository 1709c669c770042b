"""Networks for ImageNet as torchvision builds them, without weights: https://docs.pytorch.org/vision/stable/models.html.

Only those whose k x k convolutions have one group and a BatchNorm right after, so that there is something to search;
docs/networks.md tells of the others.
"""

from __future__ import annotations

from typing import cast

from torch import nn
from torchvision import models

from spnas.networks.base import Network, register_network


class TorchvisionNetwork(Network):
    """A classification network of torchvision.

    Args:
        name: The name of torchvision's function, `resnet50`.
        imgsz: Height and width of the image that torchvision's weights are evaluated on, pixels.
    """

    kind = "classify"
    default_classes = 1000

    def __init__(self, name: str, imgsz: int = 224) -> None:
        self.name = name
        self.default_imgsz = imgsz

    def build(self, num_classes: int | None = None) -> nn.Module:
        """Build the network with fresh weights."""
        make = getattr(models, self.name)
        return cast(nn.Module, make(weights=None, num_classes=num_classes or self.default_classes))


for _name in ("resnet18", "resnet34", "resnet50", "resnet101", "wide_resnet50_2", "vgg16_bn"):
    register_network(TorchvisionNetwork(_name))
register_network(TorchvisionNetwork("efficientnet_v2_s", imgsz=384))
