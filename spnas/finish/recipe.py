"""The full training of what Ultralytics does not train: a standard recipe on the house's own loop.

AdamW, warm-up and cosine, the best epoch kept, as for the proxy (`spnas.training.loop`), but over many epochs.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from spnas.finish.model import MODEL_FILE, FoundModel
from spnas.finish.options import TrainingOptions
from spnas.runs import write_model_yaml, write_text_atomic
from spnas.search.preparation import save_weights
from spnas.tasks import open_task
from spnas.tasks.base import DataInfo
from spnas.training import Schedule, TrainingResult
from spnas.training import train as train_on_task

logger = logging.getLogger("spnas")

EPOCHS, BATCH, LR = 60, 32, 1e-3


@dataclass
class _Keeper:
    """Keeps the best epoch's weights and a row of every epoch.

    Attributes:
        model: What is trained.
        found: Where to write.
        epochs: Epochs there will be.
        best: The best epoch's figures; none before the first.
    """

    model: nn.Module
    found: FoundModel
    epochs: int
    best: dict[str, float] = field(default_factory=dict)
    _losses: dict[int, float] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def note_loss(self, epoch: int, loss: float) -> None:
        """Remember an epoch's loss until it is scored."""
        self._losses[epoch] = loss

    def keep(self, result: TrainingResult) -> bool:
        """Write the epoch down, and its weights where they are the best so far; go on in any case."""
        metric, scores = result.score.metric, result.score.columns
        loss = self._losses[result.epochs]
        row = {"epoch": result.epochs, "loss": loss, **scores, "train_s": result.train_s}
        self._rows.append(row)
        _write_rows(self.found.folder / "results.csv", self._rows)
        if scores[metric] >= self.best.get(metric, 0.0):
            self.best = scores
            save_weights(self.model, self.found.weights)
        told = ", ".join(f"{name} {value:.4f}" for name, value in result.score.values.items())
        logger.info("epoch %d of %d: loss %.4f, %s", result.epochs, self.epochs, loss, told)
        return True


def train(
    found: FoundModel, model: nn.Module, info: DataInfo, options: TrainingOptions
) -> dict[str, float]:
    """Train a model, scoring it after each epoch; write `weights/best.pt`, `results.csv` and `args.yaml`.

    Args:
        found: Where to write.
        model: The model with the weights to start from; trained in place.
        info: The data set, checked.
        options: What to train with.

    Returns:
        The best epoch's figures.
    """
    epochs, batch = options.epochs or EPOCHS, options.batch or BATCH
    device = torch.device(options.device)
    task = open_task(found.kind, str(info.source), imgsz=options.imgsz, device=device)
    schedule = Schedule(
        epochs=epochs, rungs=tuple(range(1, epochs)), batch_size=batch, lr=LR, warmup=0.05
    )
    model.to(device)
    found.weights.parent.mkdir(parents=True, exist_ok=True)
    write_model_yaml(found.folder / MODEL_FILE, found.document.with_classes(info.num_classes))
    _write_args(found.folder, info, options, {"epochs": epochs, "batch": batch, "lr": LR})
    keeper = _Keeper(model, found, epochs)
    train_on_task(
        keeper.model,
        task,
        schedule,
        seed=options.seed,
        report=keeper.keep,
        progress=keeper.note_loss,
    )
    return keeper.best


def _write_args(
    folder: Path, info: DataInfo, options: TrainingOptions, used: Mapping[str, Any]
) -> None:
    """Write what the training is run with, as Ultralytics does for a YOLO's."""
    content = {
        "data": str(info.source.resolve()),
        "imgsz": options.imgsz,
        **used,
        "device": options.device,
        "seed": options.seed,
        "names": dict(enumerate(info.names)),
    }
    write_text_atomic(folder / "args.yaml", yaml.safe_dump(content, sort_keys=False))


def _write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
