"""Small searches on real data, made once for all tests that look at what a search leaves behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml


def run_cli(*args: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, in a process of its own."""
    command = [sys.executable, "-m", "spnas", *(str(arg) for arg in args)]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=400, check=False
    )


def small_detection_data(source: Path, folder: Path) -> str:
    """Copy a few images with their labels; real photographs, few enough for a test."""
    for split, number in (("train", 32), ("val", 16)):
        for kind, suffix in (("images", ".jpg"), ("labels", ".txt")):
            target = folder / kind / split
            target.mkdir(parents=True)
            for file in sorted((source / "images" / split).glob("*.jpg"))[:number]:
                copy = source / kind / split / f"{file.stem}{suffix}"
                (target / copy.name).write_bytes(copy.read_bytes())
    names = yaml.safe_load((source / "data.yaml").read_text())["names"]
    return yaml.safe_dump({"train": "images/train", "val": "images/val", "names": names})


def small_classification_data(source: Path, target: Path) -> None:
    """Copy a few images of each class."""
    for split, number in (("train", 24), ("val", 8)):
        for folder in sorted((source / split).iterdir()):
            (target / split / folder.name).mkdir(parents=True)
            for file in sorted(folder.glob("*.jpg"))[:number]:
                (target / split / folder.name / file.name).write_bytes(file.read_bytes())


@pytest.fixture(scope="session")
def detection_run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of YOLOv8n on a part of the blood cells: three trials."""
    folder = tmp_path_factory.mktemp("detection")
    # `path: .` means the working directory, which Ray's workers must not have changed.
    small = small_detection_data(shared_data / "bccd", folder)
    (folder / "yamls").mkdir()
    (folder / "yamls" / "small.yaml").write_text(f"path: .\n{small}")
    options = "base_epochs: 2\nepochs: 2\nrungs: [1]\ntable_share: 0\ninherit: weights\n"
    (folder / "config.yaml").write_text(options)
    done = run_cli(
        *("search", "--space", "yolov8n", "--data", "yamls/small.yaml", "--imgsz", "96"),
        *("--budget", "3trials", "--name", "cells", "--config", "config.yaml", "--json"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert (events[0], events[-2:]) == ("start", ["end", "front"])
    assert (events.count("base"), events.count("trial")) == (2, 3)
    return folder / "results" / "cells"


@pytest.fixture(scope="session")
def classification_run(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of ResNet-20 on the sign digits: six trials, with limits that the base and `ghost:0.5` exceed."""
    folder = tmp_path_factory.mktemp("classification")
    small_classification_data(shared_data / "sign_digits", folder / "signs")
    options = "base_epochs: 2\nepochs: 1\nrungs: []\nmax_latency: 9x\ninherit: fitted\n"
    (folder / "config.yaml").write_text(options)
    done = run_cli(
        *("search", "--space", "resnet20-cifar", "--data", "signs"),
        *("--budget", "6trials", "--name", "signs", "--config", "config.yaml"),
        *("--max-params", "110k"),
        cwd=folder,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "results" / "signs"
