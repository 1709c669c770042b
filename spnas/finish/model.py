"""A found model as the user names it: its yaml, its training folder or its weights, and the run it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from spnas.errors import InputError, ModelFileError, RunError
from spnas.networks import Yolo, load_base_weights
from spnas.networks.document import ModelDocument
from spnas.networks.load import read_document
from spnas.runs import RunDirectory
from spnas.search.config import read_config

MODEL_FILE = "model.yaml"


@dataclass(frozen=True)
class FoundModel:
    """A model of a search, and where its full training is or goes.

    Attributes:
        path: Its model yaml.
        document: What the yaml says.
        folder: Its training: `weights/best.pt`, `args.yaml`, `results.csv` and a copy of the yaml.
        weights: Its trained weights, there or not yet.
        run: The run that found it; None where the yaml does not lie in one.
    """

    path: Path
    document: ModelDocument
    folder: Path
    weights: Path
    run: RunDirectory | None

    @property
    def kind(self) -> str:
        """The task it is for, `detect` or `classify`."""
        return self.document.network.kind

    @property
    def is_yolo(self) -> bool:
        """Whether Ultralytics trains, scores and exports it."""
        return isinstance(self.document.network, Yolo)

    @property
    def args(self) -> dict[str, Any]:
        """What it was trained with: `data`, `imgsz` and so on; nothing where it was not."""
        file = self.folder / "args.yaml"
        return dict(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.is_file() else {}

    def data(self, given: str | None) -> str | None:
        """Give the data set: the one given, that of the training, or that of the run; None is the embedded one.

        Raises:
            RunError: None of these is known.
        """
        if given is not None:
            return given
        if "data" in (args := self.args):
            return None if args["data"] is None else str(args["data"])
        if self.run is None:
            raise RunError(f"--data: expected a data set, as {self.path} does not lie in a run")
        if self.run.data.is_file():
            return str(self.run.data)
        return read_config(self.run.config)[0].data

    def imgsz(self, given: int | None) -> int:
        """Give the image size, pixels: the one given, that of the training, that it was measured at, or the network's.

        Raises:
            ConfigError: The network does not take images of that size.
        """
        metrics = self.document.document.get("metrics")
        measured = metrics.get("imgsz") if isinstance(metrics, Mapping) else None
        network = self.document.network
        size = given or self.args.get("imgsz") or measured or network.default_imgsz
        network.check_imgsz(int(size))
        return int(size)

    def trained_weights(self, given: str | PathLike[str] | None = None) -> Path:
        """Give the file of trained weights.

        Raises:
            RunError: There is none.
        """
        file = self.weights if given is None else Path(given)
        if not file.is_file():
            hint = f"; `spnas train {self.path}` makes it" if given is None else ""
            raise RunError(f"{file}: expected trained weights of {self.path}, found none{hint}")
        return file

    def build_trained(self, weights: Path) -> nn.Module:
        """Build the training form of a network that is no YOLO, with its trained weights, on the CPU.

        Raises:
            InputError: The weights cannot be used, or are for another number of classes.
        """
        model = self.document.build()
        if not load_base_weights(model, weights):
            raise InputError(
                f"weights: {weights} is for another number of classes than the "
                f"{self.document.num_classes} of {self.path}"
            )
        return model


def find_model(path: str | PathLike[str], output: str | PathLike[str] | None = None) -> FoundModel:
    """Find what belongs to a model.

    Args:
        path: A model yaml, such as one of a run's front; the folder of its training; or trained weights in it.
        output: The folder of its training, where it is not the default: `trained/<name of the yaml>`, in the run
            directory where the yaml lies in one.

    Raises:
        ModelFileError: There is no model yaml, or it cannot be used.
    """
    path = Path(path)
    if path.suffix == ".pt":
        return _trained(path.parent.parent, path)
    if path.is_dir():
        return _trained(path, path / "weights" / "best.pt")
    document = read_document(path)
    if path.name == MODEL_FILE and (path.parent / "weights").is_dir() and output is None:
        return _trained(path.parent, path.parent / "weights" / "best.pt")
    run = _run_around(path)
    folder = _training_in(run, path.stem) if run else Path("trained") / path.stem
    folder = folder if output is None else Path(output)
    return FoundModel(path, document, folder, folder / "weights" / "best.pt", run)


def _training_in(run: RunDirectory, name: str) -> Path:
    """Give the folder of a training of `02-1a2b3c4d`, a model that may have had another place on an earlier front."""
    own = run.trained_dir / name
    if own.exists():
        return own
    identity = name.rpartition("-")[2]
    return next(iter(sorted(run.trained_dir.glob(f"[0-9]*-{identity}"))), own)


def _trained(folder: Path, weights: Path) -> FoundModel:
    """Give the model of a training's folder."""
    file = folder / MODEL_FILE
    front = sorted((folder / "pareto").glob("*.yaml"))
    if front and not file.is_file():
        names = ", ".join(path.name for path in front)
        raise ModelFileError(f"{folder}: this is a run, expected a model of its pareto/: {names}")
    if not file.is_file():
        raise ModelFileError(
            f"{file}: expected the model yaml of {weights} there, as `spnas train` writes it; weights that "
            "Ultralytics trained by itself are for its own commands: yolo val, yolo export"
        )
    return FoundModel(file, read_document(file), folder, weights, None)


def _run_around(path: Path) -> RunDirectory | None:
    """Give the run whose front a yaml belongs to."""
    run = RunDirectory(path.resolve().parent.parent)
    if path.resolve().parent == run.pareto_dir and run.config.is_file():
        return RunDirectory(path.parent.parent)
    return None
