"""Build models from model yamls, and a run's whole Pareto front."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from torch import nn

from spnas.architecture import Architecture
from spnas.errors import ModelFileError, RunError
from spnas.networks.document import ModelDocument, parse_document
from spnas.networks.inherit import load_base_weights
from spnas.runs import RunDirectory, read_trials
from spnas.runs.model_yaml import read_model_yaml


def load_model(
    path: str | PathLike[str],
    *,
    num_classes: int | None = None,
    weights: str | PathLike[str] | None = None,
) -> nn.Module:
    """Build the model of a model yaml, such as a run's `pareto/03-1a2b3c4d.yaml`.

    The yaml is data only: nothing in it is evaluated, and only the modules of the known base networks can be named.

    Args:
        path: The yaml.
        num_classes: Classes to build with instead of the yaml's.
        weights: Trained weights of this model to start from, read by `load_base_weights`; fresh ones otherwise.

    Returns:
        The model on the CPU in training mode; for a YOLO an `ultralytics.nn.tasks.DetectionModel`.

    Raises:
        ModelFileError: The yaml cannot be used; every line names the file and the key.
        InputError: The weights cannot be used.
    """
    model = _build(Path(path), read_document(path), num_classes)
    if weights is not None:
        load_base_weights(model, weights)
    return model


def read_document(path: str | PathLike[str]) -> ModelDocument:
    """Read a model yaml without building it.

    Raises:
        ModelFileError: The yaml cannot be used; every line names the file and the key.
    """
    content = read_model_yaml(Path(path))
    try:
        return parse_document(content)
    except ModelFileError as error:
        raise _in_file(Path(path), error) from None


def _build(path: Path, document: ModelDocument, num_classes: int | None) -> nn.Module:
    try:
        return document.build(num_classes)
    except ModelFileError as error:
        raise _in_file(path, error) from None


def _in_file(path: Path, error: ModelFileError) -> ModelFileError:
    return ModelFileError([f"{path}: {problem}" for problem in error.problems])


@dataclass(frozen=True)
class ParetoModel:
    """One model of a run's Pareto front.

    Attributes:
        path: Its model yaml.
        architecture: Its operators.
        metrics: What was measured of it: accuracy, latency, params, MACs.
        provenance: Where it comes from: run, trial, versions.
    """

    path: Path
    architecture: Architecture
    metrics: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def build(
        self, weights: str | PathLike[str] | None = None, *, num_classes: int | None = None
    ) -> nn.Module:
        """Build it as `load_model` does."""
        return load_model(self.path, num_classes=num_classes, weights=weights)


def load_pareto(run: str | PathLike[str]) -> list[ParetoModel]:
    """Read the Pareto front of a run directory, the fastest model first.

    Raises:
        RunError: The directory holds no front.
        ModelFileError: A yaml of the front cannot be used.
    """
    directory = RunDirectory(Path(run))
    if directory.pareto_csv.is_file():
        # Not whatever lies in the folder: a search that was killed may have left models of an older front there.
        paths = [
            _inside(directory, str(file)) for file in read_trials(directory.pareto_csv)["file"]
        ]
    else:
        paths = sorted(directory.pareto_dir.glob("*.yaml"))
    if not paths:
        raise RunError(
            f"{run}: expected a run directory with model yamls in {directory.pareto_dir}, found none"
        )
    return sorted((_pareto_model(path) for path in paths), key=_latency)


def _inside(directory: RunDirectory, file: str) -> Path:
    """Give the path of a file that pareto.csv names, which lies in `pareto/` and nowhere else."""
    path = directory.path / file
    if path.parent != directory.pareto_dir or path.name in ("", ".", ".."):
        raise RunError(f"{directory.pareto_csv}: expected files in pareto/, got {file!r}")
    return path


def _pareto_model(path: Path) -> ParetoModel:
    read = read_document(path)
    metrics, provenance = (dict(read.document.get(key) or {}) for key in ("metrics", "provenance"))
    return ParetoModel(path, read.architecture, metrics, provenance)


def _latency(model: ParetoModel) -> float:
    """Sort key; a model whose latency is not known comes last."""
    latency = model.metrics.get("latency_ms")
    return math.inf if latency is None else float(latency)
