"""A run of resnet20-cifar without a search: base weights, a front of one model, the embedded digits as data."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spnas.architecture import Architecture
from spnas.networks import get_network, model_document
from spnas.runs import RunDirectory, write_model_yaml
from spnas.search.config import make_config, write_config

GHOSTS = Architecture({"layer1.0.conv1": "ghost:0.5", "layer3.0.conv2": "spconv:0.5"})


def make_run(root: Path, name: str = "run") -> RunDirectory:
    """Write what a search would leave of one model."""
    run = RunDirectory.create(root, name)
    config = make_config({"space": "resnet20-cifar", "budget": "3trials", "name": name})
    run.config.write_text(write_config(config, {"task": "classify", "num_classes": 10}))
    network = get_network("resnet20-cifar")
    torch.manual_seed(0)
    torch.save(network.build(10).state_dict(), run.base_weights)
    content = model_document(network, 10, GHOSTS) | {"metrics": {"imgsz": 32, "top1": 0.5}}
    write_model_yaml(run.pareto_dir / "00-found.yaml", content)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """The run, shared by a file's tests."""
    return make_run(tmp_path_factory.mktemp("finish"))
