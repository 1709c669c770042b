"""BatchNorm statistics estimated anew, without which a short training's score means nothing."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.optim.swa_utils import update_bn


def reestimate_batchnorm(model: nn.Module, images: Iterable[Tensor]) -> None:
    """Replace every BatchNorm's running statistics by the mean of its statistics over these batches.

    Running averages follow slowly (YOLOv8's momentum is .03), so after a few hundred steps they still describe the
    network as it was at the start. The model's mode and the momenta are kept.

    Give the images as training sees them, augmented and in batches as small: statistics of plain images are others than
    those that the weights were fitted to.

    Args:
        model: Changed in place.
        images: Batches `(N, 3, H, W)` on the model's device.
    """
    update_bn(images, model)
