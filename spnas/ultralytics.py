"""The Ultralytics face: model yamls with a `spnas` section, and their checkpoints, work in Ultralytics' `YOLO`.

Importing this module makes Ultralytics build its detection models with `SpnasDetectionModel`, which is Ultralytics' own
`DetectionModel` plus the operators of the yaml's `spnas` section; for any other yaml the two are the same. A checkpoint
names that class, so loading one imports this module by itself.
"""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from spnas.architecture import Architecture, Choice, ConvSite
from spnas.errors import ArchitectureError, ModelFileError
from spnas.names import counted
from spnas.networks.deploy import deploy_operators
from spnas.networks.document import ModelDocument, parse_document
from spnas.networks.inherit import is_tensor_file, load_base_weights
from spnas.networks.load import read_document
from spnas.networks.yolo import Yolo, ultralytics_tasks
from spnas.operators import Host, get_operator, operator_names

ultralytics_tasks()  # before the imports below: it keeps them from changing the process' thread settings

import ultralytics.models.yolo.detect as stock_detect  # noqa: E402
import ultralytics.models.yolo.detect.train as stock_train  # noqa: E402
import ultralytics.models.yolo.model as stock_yolo  # noqa: E402
from ultralytics.nn.tasks import DetectionModel, yaml_model_load  # noqa: E402
from ultralytics.utils import LOGGER  # noqa: E402


class SpnasDetectionModel(DetectionModel):
    """Ultralytics' detection model with the operators of its yaml's `spnas` section, if it has one.

    Args:
        cfg: A model yaml, or its content.
        ch: Channels of the input images.
        nc: Classes to build with instead of the yaml's.
        verbose: Print what it is; of a yaml without a `spnas` section the layers.

    Raises:
        ModelFileError: The `spnas` section, or anything beside it, cannot be used.
    """

    yaml: dict[str, Any]
    names: dict[int, str]
    model: nn.Module

    def __init__(
        self,
        cfg: str | dict[str, Any] = "yolov8n.yaml",
        ch: int = 3,
        nc: int | None = None,
        verbose: bool = True,
    ) -> None:
        config = cfg if isinstance(cfg, dict) else yaml_model_load(cfg)
        if "spnas" not in config:
            super().__init__(config, ch=ch, nc=nc, verbose=verbose)
            return
        plain, document = _read(config)
        # Ultralytics would print the layers of the base network.
        super().__init__(plain, ch=ch, nc=nc, verbose=False)
        self.yaml = {**config, **self.yaml}
        try:
            document.apply(self)
        except ModelFileError as error:
            raise _located(config, error.problems) from None
        if verbose:
            LOGGER.info(_described(document))
            self.info()

    def fuse(self, verbose: bool = True, imgsz: int = 640) -> SpnasDetectionModel:
        """Put every operator into its deploy form, then fold the rest as Ultralytics does, in place."""
        deploy_operators(self)
        super().fuse(verbose=verbose, imgsz=imgsz)
        return self

    def load(self, weights: nn.Module | dict[str, Any], verbose: bool = True) -> None:
        """Load the weights of a model of the same architecture, or inherit those of the base network.

        Raises:
            ArchitectureError: The weights are those of another searched architecture.
        """
        source = (weights.get("ema") or weights["model"]) if isinstance(weights, dict) else weights
        own, given = _architecture(self), _architecture(source)
        if own == given:
            super().load(weights, verbose=verbose)
        elif given.is_base:
            self._inherit(weights, verbose)
        else:
            raise ArchitectureError(
                f"expected weights of the base network or of this architecture, {own.id} "
                f"({own.text or 'all regular'}), got those of {given.id} ({given.text})"
            )

    def with_weights(self, path: Path) -> nn.Module:
        """Give this model, or the base network it was made from, with the weights of a file of tensors.

        Raises:
            InputError: The file is for another network.
        """
        model = copy.deepcopy(self)
        if "spnas" in self.yaml and not _has_names_of(self, path):
            plain, _ = _read(self.yaml)
            model = DetectionModel(plain, ch=self.yaml["channels"], verbose=False)
        load_base_weights(model, path)
        return model

    def _inherit(self, weights: nn.Module | dict[str, Any], verbose: bool) -> None:
        """Load plain weights as Ultralytics does into the base network, then let the operators start from them."""
        plain, document = _read(self.yaml)
        base = DetectionModel(plain, ch=self.yaml["channels"], verbose=False)
        base.names = self.names
        base.load(weights, verbose=verbose)
        document.apply(base, inherit=True)
        like = next(self.parameters())
        base.to(device=like.device, dtype=like.dtype).train(self.training)
        self.model, self.names, self.pt_path = base.model, base.names, base.pt_path


class SpnasDetectionTrainer(stock_train.DetectionTrainer):
    """Ultralytics' trainer under a name of this module, so that the processes of a multi-GPU training import it."""


class YOLO(stock_yolo.YOLO):
    """Ultralytics' `YOLO`: train, val, predict and export, for model yamls of spnas and their checkpoints too.

    Examples:
        >>> model = YOLO("results/my-run/pareto/03-1a2b3c4d.yaml")  # doctest: +SKIP
        >>> model.load("yolov8n.pt").train(data="data.yaml", epochs=100)  # doctest: +SKIP
    """

    def _new(self, cfg: str, task: str | None = None, verbose: bool = False) -> None:
        """Build from a yaml; one written by spnas is checked first, so that errors name file and key."""
        path = Path(cfg)
        if path.is_file() and "spnas" in path.read_text(encoding="utf-8", errors="replace"):
            read_document(path)
        super()._new(cfg, task=task, verbose=verbose)

    def load(self, weights: Any = "yolo26n.pt") -> YOLO:
        """Load a checkpoint as Ultralytics does, or a run's file of tensors, such as `weights/base.pt`.

        Args:
            weights: A checkpoint, a module, or a file of tensors of the base network or of this very model.

        Raises:
            InputError: The file of tensors is another network's.
        """
        is_file = isinstance(weights, str | Path) and is_tensor_file(Path(weights))
        if is_file and isinstance(self.model, SpnasDetectionModel):
            weights = self.model.with_weights(Path(weights))
        super().load(weights)
        return self


def _read(config: dict[str, Any]) -> tuple[dict[str, Any], ModelDocument]:
    """Give what Ultralytics builds the base network from, and the model yaml with the operators."""
    try:
        document = parse_document(config)
        if not isinstance(document.network, Yolo):
            raise ModelFileError(
                f"spnas.base: {document.network.name} is no detection network of Ultralytics, "
                f"build it with spnas.load_model"
            )
        return document.network.plain_config(document.network_part), document
    except ModelFileError as error:
        raise _located(config, error.problems) from None


def _has_names_of(model: nn.Module, path: Path) -> bool:
    """Whether a file of tensors names a model's own."""
    return set(torch.load(path, map_location="meta", weights_only=True)) == set(model.state_dict())


def _described(document: ModelDocument) -> str:
    """Tell the base network and its operators in one line."""
    counts = Counter(str(choice) for _, choice in document.architecture.items())
    told = ", ".join(
        f"{choice} at {counted(count, 'site')}" for choice, count in counts.most_common()
    )
    return f"spnas: {document.network.name} with {told or 'no operators'}"


def _located(config: Mapping[str, Any], problems: list[str]) -> ModelFileError:
    """Name the file, where Ultralytics told us which."""
    file = config.get("yaml_file", "model yaml")
    return ModelFileError([f"{file}: {problem}" for problem in problems])


def _architecture(model: nn.Module) -> Architecture:
    """Read the operators from the yaml a model carries."""
    config = getattr(model, "yaml", None)
    section = config.get("spnas") if isinstance(config, dict) else None
    return Architecture.from_yaml(section["sites"]) if section else Architecture()


def _install() -> None:
    """Make Ultralytics build and read these models."""
    stock_yolo.DetectionModel = SpnasDetectionModel
    stock_train.DetectionModel = SpnasDetectionModel
    stock_detect.DetectionTrainer = SpnasDetectionTrainer
    # For ULTRALYTICS_SAFE_LOAD=1, which reads checkpoints with an allow-list of classes.
    torch.serialization.add_safe_globals(
        [SpnasDetectionModel, Choice, ConvSite, Host, *_operator_parts()]
    )


def _operator_parts() -> set[type[nn.Module]]:
    """Collect the module classes that operators are made of: those that the operators' own files name."""
    files = {sys.modules[get_operator(name).__module__] for name in operator_names()}
    names = [value for file in files for value in vars(file).values()]
    return {item for item in names if isinstance(item, type) and issubclass(item, nn.Module)}


_install()
