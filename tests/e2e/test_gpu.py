"""What needs a CUDA device, end to end: searches on it, memory that runs out, and what comes after."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from spnas.networks import get_network
from spnas.tasks import open_task
from spnas.training import Schedule
from spnas.training.memory import train_within_memory

from .conftest import run_cli, small_classification_data

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda:0")


def test_two_trials_share_a_gpu(shared_data: Path, tmp_path: Path) -> None:
    small_classification_data(shared_data / "sign_digits", tmp_path / "digits")
    (tmp_path / "config.yaml").write_text(
        "gpus: 1\ngpus_per_trial: 0.5\nmax_latency: 10x\nbase_epochs: 2\n"
    )
    done = run_cli(
        *("search", "--space", "resnet20-cifar", "--data", "digits", "--imgsz", "32"),
        *("--budget", "6trials", "--config", "config.yaml", "--name", "run"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 trials at a time" in done.stderr + done.stdout
    run = tmp_path / "results" / "run"
    trials = pd.read_csv(run / "trials.csv")
    assert len(trials) == 6
    assert (trials.state == "complete").sum() >= 2
    environment = json.loads((run / "environment.json").read_text())
    assert environment["device"] == torch.cuda.get_device_name(0)
    model = next((run / "pareto").glob("*.yaml"))
    for command in (
        ("train", model, "--data", "digits", "--epochs", "1"),
        ("export", model, "--format", "torchscript"),
    ):
        done = run_cli(*command, cwd=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_batch_that_does_not_fit_is_halved_once(shared_data: Path) -> None:
    task = open_task("detect", str(shared_data / "bccd" / "data.yaml"), imgsz=640, device=CUDA)

    def build() -> nn.Module:
        torch.manual_seed(0)
        return get_network("yolov8n").build(3)

    # Two epochs are too few steps for CUDA graphs, which give way first where memory is short.
    def memory(batch: int) -> int:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        schedule = Schedule(2, batch_size=batch, calibration=2)
        train_within_memory(build().to(CUDA), build, task, schedule, seed=0)
        return torch.cuda.max_memory_allocated()

    between = (memory(16) + memory(32)) / 2
    total = torch.cuda.get_device_properties(CUDA).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(between / total)
    try:
        _, result = train_within_memory(
            build().to(CUDA), build, task, Schedule(2, batch_size=32, calibration=2), seed=0
        )
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert result.batch_size == 16
    assert result.score.value >= 0
