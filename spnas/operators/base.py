"""What an operator is: the module that takes the place of a host's convolution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar

from torch import Tensor, nn

from spnas.architecture import Choice, ConvSite
from spnas.errors import ArchitectureError


@dataclass(frozen=True)
class Host:
    """What surrounds a site's convolution in the base network.

    Attributes:
        act: The activation that follows the convolution, None where it is linear.
        applies_act: Whether the network applies `act` itself, outside the operator (torchvision's ResNet); the
            operator then ends before it. In a YOLOv8 `Conv` block the operator applies it.
        bn: Whether a BatchNorm follows the convolution.
        bn_eps: Its epsilon; BatchNorms inside the operator use the same.
        bn_momentum: Its momentum, likewise.
    """

    act: nn.Module | None = None
    applies_act: bool = False
    bn: bool = True
    bn_eps: float = 1e-5
    bn_momentum: float | None = 0.1


class Operator(nn.Module, ABC):
    """Takes the place of a host's convolution, the BatchNorm after it and, unless the host applies it, the activation.

    Maps `(N, Cin, H, W)` to `(N, Cout, H', W')`, where H' and W' are those of the replaced convolution. Subclasses set
    `name`, are registered with `register_operator`, and take their parameters (`ratio`) as keyword arguments.

    Args:
        site: The convolution to replace.
        host: What surrounds it.

    Attributes:
        choice: What was chosen: the operator's name and its parameters.
        form: Which of `forms` `deploy` gives.

    Raises:
        ArchitectureError: The operator cannot take this site; the message names the site and the reason.
    """

    name: ClassVar[str]
    form: str = "default"

    def __init__(self, site: ConvSite, host: Host, **params: float) -> None:
        super().__init__()
        reason = type(self).refusal(site, **params)
        if reason is not None:
            raise ArchitectureError(f"{site}: {type(self).name} cannot take it: {reason}")
        self.choice = Choice.of(type(self).name, **params)
        self.site = site
        self.host = host
        self.act: nn.Module = nn.Identity() if host.act is None or host.applies_act else host.act

    @classmethod
    @abstractmethod
    def refusal(cls, site: ConvSite, **params: float) -> str | None:
        """Say why the operator cannot take the site with these parameters; None where it can."""

    @property
    def conv(self) -> SimpleNamespace:
        """The replaced convolution's channels, where Ultralytics' weight loading looks for them."""
        return SimpleNamespace(
            in_channels=self.site.in_channels, out_channels=self.site.out_channels
        )

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Make a BatchNorm like the host's."""
        return nn.BatchNorm2d(channels, eps=self.host.bn_eps, momentum=self.host.bn_momentum)

    @abstractmethod
    def inherit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None) -> None:
        """Start from a trained plain convolution's weights and its BatchNorm.

        Running statistics are then a guess: re-estimate them on data before evaluating.
        """

    def fit(self, conv: nn.Conv2d, bn: nn.BatchNorm2d | None, inputs: Tensor) -> None:
        """Start as near to a trained plain convolution as a sample of what it reads can tell.

        An operator that learns no more from images than from weights only inherits, as here.

        Args:
            conv: The trained convolution.
            bn: The BatchNorm after it, if any; its running statistics are used.
            inputs: What the convolution reads of some images, `(N, Cin, H, W)`.
        """
        self.inherit(conv, bn)

    @abstractmethod
    def deploy(self) -> nn.Module:
        """Give a new module without BatchNorms that equals this one in eval mode, exact in real arithmetic.

        An operator with several such forms gives the one that `form` names.
        """

    def forms(self, shape: Sequence[int]) -> tuple[str, ...]:
        """Name the deployed forms for inputs of a shape `(N, C, H, W)`, that of a new operator first.

        All are the same function; which is fastest depends on shape, device and runtime.
        """
        return (self.form,)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, Cin, H, W)` to `(N, Cout, H', W')`."""
