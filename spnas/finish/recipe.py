"""The full training of what Ultralytics does not train: a standard recipe on the house's own loop.

AdamW, warm-up and cosine, the best epoch kept, as for the proxy (`spnas.training.loop`), but over many epochs.
"""

from __future__ import annotations

import csv
import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import nn

from spnas.device import resolve_device
from spnas.errors import RunError
from spnas.finish.model import MODEL_FILE, FoundModel
from spnas.finish.options import TrainingOptions
from spnas.runs import write_model_yaml, write_text_atomic
from spnas.search.preparation import save_weights
from spnas.tasks import check_data, open_task
from spnas.tasks.base import DataInfo
from spnas.training import Checkpoint, Schedule, TrainingResult
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

    def read(self, metric: str) -> None:
        """Know again what an earlier sitting wrote."""
        with (self.found.folder / "results.csv").open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                numbers = {name: float(text) for name, text in row.items()}
                self._rows.append({**numbers, "epoch": int(row["epoch"])})
                if numbers[metric] >= self.best.get(metric, 0.0):
                    self.best = {
                        name: value
                        for name, value in numbers.items()
                        if name not in ("epoch", "loss", "train_s")
                    }

    def note_loss(self, epoch: int, loss: float) -> None:
        """Remember an epoch's loss until it is scored."""
        self._losses[epoch] = loss

    def keep(self, result: TrainingResult) -> bool:
        """Write the epoch down, and its weights where they are the best so far; go on in any case."""
        metric, scores = result.score.metric, result.score.columns
        loss = self._losses[result.epochs]
        row = {"epoch": result.epochs, "loss": loss, **scores, "train_s": result.train_s}
        # Of an interrupted training those epochs are there that the checkpoint knows, and perhaps one more.
        self._rows = [*(one for one in self._rows if one["epoch"] < result.epochs), row]
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
    used = replace(options, epochs=options.epochs or EPOCHS, batch=options.batch or BATCH)
    found.weights.parent.mkdir(parents=True, exist_ok=True)
    write_model_yaml(found.folder / MODEL_FILE, found.document.with_classes(info.num_classes))
    _write_args(found.folder, info, used)
    return _train(_Keeper(model, found, used.epochs or EPOCHS), info, used)


def resume(found: FoundModel) -> dict[str, float]:
    """Go on with an interrupted training after its last epoch.

    Returns:
        The best epoch's figures.

    Raises:
        InputError: There is no training, it is complete, or its data set or device is gone.
    """
    if not _checkpoint(found).path.is_file():
        complete = found.weights.is_file()
        raise RunError(
            f"{found.folder}: expected an interrupted training, found "
            + ("one that is complete, or in its first epoch" if complete else "none")
        )
    args = found.args
    names = ("epochs", "batch", "imgsz", "seed")
    device = str(resolve_device(args["device"]))
    options = TrainingOptions(device=device, **{name: args[name] for name in names})
    info = check_data(found.kind, found.data(None))
    keeper = _Keeper(found.document.build(info.num_classes), found, args["epochs"])
    keeper.read(info.columns[0])
    return _train(keeper, info, options)


def _train(keeper: _Keeper, info: DataInfo, options: TrainingOptions) -> dict[str, float]:
    """Train, from the checkpoint where there is one; give the best epoch's figures."""
    epochs, batch = options.epochs or EPOCHS, options.batch or BATCH
    device, found = torch.device(options.device), keeper.found
    checkpoint = _checkpoint(found)
    train_on_task(
        keeper.model.to(device),
        open_task(found.kind, str(info.source), imgsz=options.imgsz, device=device),
        Schedule(
            epochs=epochs, rungs=tuple(range(1, epochs)), batch_size=batch, lr=LR, warmup=0.05
        ),
        seed=options.seed,
        report=keeper.keep,
        progress=keeper.note_loss,
        checkpoint=checkpoint,
    )
    checkpoint.remove()
    return keeper.best


def _checkpoint(found: FoundModel) -> Checkpoint:
    return Checkpoint(found.weights.with_name("last.checkpoint"), most_often_s=0.0)


def _write_args(folder: Path, info: DataInfo, options: TrainingOptions) -> None:
    """Write what the training is run with, as Ultralytics does for a YOLO's."""
    content = {
        "data": str(info.source.resolve()),
        "imgsz": options.imgsz,
        "epochs": options.epochs,
        "batch": options.batch,
        "lr": LR,
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
