"""A found YOLO in Ultralytics: trained, resumed and scored there; errors are told as everywhere in spnas."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import torch
import yaml
from torch import Tensor, nn
from ultralytics.utils import LOGGER

from spnas.errors import ConfigError, RunError, TrainingError
from spnas.finish.model import MODEL_FILE, FoundModel
from spnas.finish.options import TrainingOptions
from spnas.names import near_miss
from spnas.runs import write_model_yaml
from spnas.tasks.base import DataInfo
from spnas.ultralytics import YOLO

# Figures by the names of trials.csv and of Ultralytics.
_FIGURES = {
    "map50_95": "mAP50-95",
    "map50": "mAP50",
    "precision": "precision",
    "recall": "recall",
}
# Set by options of our own, or by what is trained.
_TAKEN = frozenset(
    (
        *("task", "mode", "model", "data", "epochs", "imgsz", "batch", "device", "seed"),
        *("resume", "project", "name", "exist_ok", "save_dir", "pretrained"),
    )
)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Check that settings are Ultralytics' and not those that our own options set.

    Raises:
        ConfigError: One line for each that is not.
    """
    from ultralytics.cfg import DEFAULT_CFG_DICT

    allowed = sorted(set(DEFAULT_CFG_DICT) - _TAKEN)
    problems = [
        f"{name}: no training setting of Ultralytics{near_miss(name, allowed)}"
        if name not in DEFAULT_CFG_DICT
        else f"{name}: expected an option of spnas train instead, such as --epochs, --device, --output"
        for name in settings
        if name not in allowed
    ]
    if problems:
        raise ConfigError(problems)


def train(
    found: FoundModel, model: nn.Module, info: DataInfo, options: TrainingOptions
) -> dict[str, float]:
    """Train by Ultralytics, into the model's folder.

    Args:
        found: The model.
        model: The same model with the weights to start from.
        info: The data set, checked.
        options: What to train with.

    Returns:
        The best epoch's figures.
    """
    content = found.document.with_classes(info.num_classes)
    trained = YOLO(found.path, task="detect").load(model)
    # Not before: for several GPUs Ultralytics takes the whole folder away first.
    trained.add_callback(
        "on_train_start", lambda _: write_model_yaml(found.folder / MODEL_FILE, content)
    )
    given = {"epochs": options.epochs, "batch": options.batch}
    with _errors_of_ultralytics():
        trained.train(
            data=str(info.source.resolve()),
            imgsz=options.imgsz,
            device=options.device.removeprefix("cuda:"),
            seed=options.seed,
            project=str(found.folder.parent.resolve()),
            name=found.folder.name,
            exist_ok=True,
            **{name: value for name, value in given.items() if value is not None},
            **options.settings,
        )
    return _scores(trained.metrics)


def resume(found: FoundModel) -> dict[str, float]:
    """Go on with an interrupted training after its last epoch.

    Raises:
        RunError: There is no training, or it is complete.
    """
    last = found.weights.with_name("last.pt")
    if not last.is_file():
        raise RunError(f"{last}: expected an interrupted training, found none")
    trained = YOLO(last)
    if trained.ckpt.get("epoch", -1) < 0:
        raise RunError(f"{found.folder}: the training is complete, there is nothing to resume")
    with _errors_of_ultralytics():
        trained.train(resume=True)
    return _scores(trained.metrics)


def validate(
    weights: Path, info: DataInfo, imgsz: int, batch: int, device: str
) -> dict[str, float]:
    """Score trained weights on the validation images, as Ultralytics does."""
    with tempfile.TemporaryDirectory() as folder, _errors_of_ultralytics():
        data = Path(folder) / "data.yaml"
        data.write_text(yaml.safe_dump(info.document(), sort_keys=False), encoding="utf-8")
        metrics = YOLO(weights).val(
            data=str(data),
            imgsz=imgsz,
            batch=batch,
            device=device.removeprefix("cuda:"),
            project=folder,
            plots=False,
        )
    return _scores(metrics)


def load(weights: Path) -> nn.Module:
    """Read a checkpoint's model: the training form in eval mode, float32 on the CPU."""
    model: nn.Module = YOLO(weights).model
    return model.float().eval()


def export(model: Path, file_format: str, shape: Sequence[int], device: torch.device) -> Path:
    """Export a checkpoint's or model yaml's deployed form by Ultralytics.

    Args:
        model: The checkpoint, or the yaml for fresh weights; the file is written beside it.
        file_format: Ultralytics' name of the format.
        shape: Shape `(N, C, H, W)` of the input.
        device: Where to export.
    """
    with _quiet(), _errors_of_ultralytics():
        written = YOLO(model, task="detect").export(
            format=file_format,
            batch=shape[0],
            imgsz=shape[-1],
            device=str(device).removeprefix("cuda:"),
            simplify=find_spec("onnxslim") is not None,
        )
    return Path(written)


def base_yaml(found: FoundModel, folder: Path) -> Path:
    """Write the model yaml of a found model's base network."""
    section = {"base": found.document.network.name, "sites": {}}
    path = folder / "base.yaml"
    write_model_yaml(path, {**found.document.document, "spnas": section})
    return path


@torch.inference_mode()
def run_file(path: Path, example: Tensor, device: torch.device) -> Any:
    """Give what an exported file gives for an input `(N, C, H, W)`, by Ultralytics' own reader."""
    from ultralytics.nn.autobackend import AutoBackend

    with _quiet():
        return AutoBackend(str(path), device=device)(example.to(device))


def _scores(metrics: Any) -> dict[str, float]:
    """Give Ultralytics' figures by the names of trials.csv; after a training on several GPUs they are a dictionary."""
    figures = metrics if isinstance(metrics, Mapping) else metrics.results_dict
    return {name: float(figures[f"metrics/{theirs}(B)"]) for name, theirs in _FIGURES.items()}


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave what an export says to us: Ultralytics tells of its own commands, torch of its tracing."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        LOGGER.setLevel(level)


@contextmanager
def _errors_of_ultralytics() -> Iterator[None]:
    """Tell what Ultralytics refuses in one line; and keep Ray, which it asks whether this is a trial, quiet."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`get_trial_id`")
            yield
    except (SyntaxError, TypeError, ValueError, AssertionError, FileNotFoundError) as error:
        raise ConfigError(f"Ultralytics: {' '.join(str(error).split())}") from error
    except (RuntimeError, CalledProcessError) as error:  # the latter of a training on several GPUs
        raise TrainingError(f"Ultralytics: {' '.join(str(error).split())}") from error
