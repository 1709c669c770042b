"""A real base network, briefly trained on the embedded digits; tests leave it as it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spnas.networks import get_network
from spnas.tasks import Task, open_task
from spnas.training import Schedule, train


@pytest.fixture(scope="module")
def digits() -> Task:
    return open_task("classify", None, imgsz=32, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def base(digits: Task) -> nn.Module:
    torch.manual_seed(0)
    network = get_network("resnet20-cifar").build(10)
    train(network, digits, Schedule(epochs=2, batch_size=32), seed=0)
    return network
