"""The full training of what Ultralytics does not train: a standard recipe on the house's own loop.

AdamW, warm-up and cosine, the best epoch kept, as for the proxy (`spnas.training.loop`), but over many epochs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml
from torch import nn

from spnas.device import resolve_device
from spnas.errors import ConfigError, RunError, TrainingError
from spnas.finish.model import MODEL_FILE, FoundModel
from spnas.finish.options import TrainingOptions
from spnas.runs import write_model_yaml, write_text_atomic
from spnas.runs.files import write_csv
from spnas.search.preparation import save_weights
from spnas.tasks import check_data, open_task
from spnas.tasks.base import DataInfo
from spnas.training import Checkpoint, Schedule, TrainingResult
from spnas.training import train as train_on_task

logger = logging.getLogger("spnas")

_TABLE = "results.csv"
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
        table = pd.read_csv(self.found.folder / _TABLE)
        self._rows = [
            {str(name): value for name, value in row.items()} for row in table.to_dict("records")
        ]
        best = max(self._rows, key=lambda row: float(row[metric]))
        self.best = {n: v for n, v in best.items() if n not in ("epoch", "loss", "train_s")}

    def note_loss(self, epoch: int, loss: float) -> None:
        """Remember an epoch's loss until it is scored."""
        self._losses[epoch] = loss

    def keep(self, result: TrainingResult) -> bool:
        """Write the epoch down, and its weights where they are the best so far; go on in any case."""
        metric, scores = result.score.metric, result.score.columns
        loss = self._losses[result.epochs]
        row = {"epoch": result.epochs, "loss": loss, **scores, "train_s": result.train_s}
        # Of an interrupted training some epochs after its checkpoint may be there.
        self._rows = [*(one for one in self._rows if one["epoch"] < result.epochs), row]
        if scores[metric] >= self.best.get(metric, 0.0):
            self.best = scores
            save_weights(self.model, self.found.weights)
        write_csv(self.found.folder / _TABLE, pd.DataFrame(self._rows))
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
    if (batch := used.batch or BATCH) < 2:
        raise ConfigError(f"--batch: expected at least 2, got {batch}")
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
    if not is_interrupted(found):
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
    return _train(keeper, info, options, resumed=True)


def is_interrupted(found: FoundModel) -> bool:
    """Whether there is a training to go on with."""
    return _checkpoint(found).path.is_file() and (found.folder / _TABLE).is_file()


def _train(
    keeper: _Keeper, info: DataInfo, options: TrainingOptions, *, resumed: bool = False
) -> dict[str, float]:
    """Train, from the checkpoint where there is one; give the best epoch's figures."""
    epochs, batch = options.epochs or EPOCHS, options.batch or BATCH
    device, found = torch.device(options.device), keeper.found
    checkpoint = _checkpoint(found, needed=resumed)
    rungs = tuple(range(1, epochs))
    try:
        train_on_task(
            keeper.model.to(device),
            open_task(found.kind, str(info.source), imgsz=options.imgsz, device=device),
            Schedule(epochs=epochs, rungs=rungs, batch_size=batch, lr=LR, warmup=0.05),
            seed=options.seed,
            report=keeper.keep,
            progress=keeper.note_loss,
            checkpoint=checkpoint,
        )
    except torch.OutOfMemoryError:
        raise TrainingError(
            f"{device}: out of memory, expected a smaller --batch than {batch}"
        ) from None
    checkpoint.remove()
    return keeper.best


def _checkpoint(found: FoundModel, *, needed: bool = False) -> Checkpoint:
    return Checkpoint(found.weights.with_name("last.checkpoint"), needed=needed, most_often_s=0.0)


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
