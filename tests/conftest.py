"""Fixtures for all tests: real data beside the checkout, a quiet and offline Ultralytics, one torch thread."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")
os.environ.setdefault("YOLO_VERBOSE", "false")

# Two files run at a time, on two cores: threads of their own would only wait for each other.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]

# A plugin for processes of their own: imported here it would be registered for all tests.
collect_ignore = ["instant"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets kept beside the checkout."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data sets are not there: {folder}")
    return folder


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The root of the checkout."""
    return ROOT
