"""YOLOv8, YOLO11 and YOLO12 as Ultralytics builds them; the only module that builds Ultralytics models.

Ultralytics, https://github.com/ultralytics/ultralytics. Its model yamls are read from the installed package.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from spnas.architecture import Architecture
from spnas.errors import ModelFileError
from spnas.networks.base import SCHEMA_VERSION, Network, check_keys, register_network

# Ultralytics looks for the network at import, and may run pip install for a class it cannot import.
os.environ.setdefault("YOLO_OFFLINE", "true")
os.environ.setdefault("YOLO_AUTOINSTALL", "false")

_KEYS = ("nc", "scales", "backbone", "head")
# Keys that Ultralytics adds to the dictionary it builds from.
_RUNTIME_KEYS = frozenset({"scale", "yaml_file", "channels"})
_COMMON_MODULES = frozenset({"Conv", "SPPF", "nn.Upsample", "Concat", "Detect"})
# What a layer may be given, and how often; the makers' own yamls stay far below.
_LARGEST, _MOST_REPEATS, _MOST_LAYERS = 100_000, 100, 500
_ARGUMENT_TEXTS = {"nc", "nearest", "None"}
# Added to the first layer's module name: Ultralytics without spnas then ends with `KeyError: 'Conv (needs: ...)'`
# where it would otherwise ignore the `spnas` section and build the base network.
_MARK = " (needs: import spnas.ultralytics)"


@dataclass(frozen=True)
class YoloFamily:
    """What tells one generation of YOLO from another.

    Attributes:
        name: What a scale's name starts with, `yolo11`.
        file: Its model yaml, below Ultralytics' folder of model yamls.
        modules: The modules that a model yaml of it may name; nothing else can be built from one.
    """

    name: str
    file: str
    modules: frozenset[str]


FAMILIES = (
    YoloFamily("yolov8", "v8/yolov8.yaml", _COMMON_MODULES | {"C2f"}),
    YoloFamily("yolo11", "11/yolo11.yaml", _COMMON_MODULES | {"C3k2", "C2PSA"}),
    YoloFamily("yolo12", "12/yolo12.yaml", _COMMON_MODULES | {"C3k2", "A2C2f"}),
)


class Yolo(Network):
    """One scale of a YOLO family for detection.

    Args:
        family: Which YOLO.
        scale: `n`, `s`, `m`, `l` or `x`.
    """

    kind = "detect"
    default_imgsz = 640
    imgsz_multiple = 32
    default_classes = 80

    def __init__(self, family: YoloFamily, scale: str) -> None:
        self.family = family
        self.scale = scale
        self.name = f"{family.name}{scale}"

    def build(self, num_classes: int | None = None) -> nn.Module:
        """Build the network with fresh weights, an `ultralytics.nn.tasks.DetectionModel`."""
        return self.build_document(self.document(num_classes))

    def document(self, num_classes: int | None = None) -> dict[str, Any]:
        """Give the Ultralytics model yaml with this one scale: `nc`, `scales`, `backbone`, `head`."""
        packaged = _packaged_yaml(self.family)
        return {
            "nc": num_classes or self.default_classes,
            "scales": {self.scale: packaged["scales"][self.scale]},
            "backbone": packaged["backbone"],
            "head": packaged["head"],
        }

    def build_document(
        self, document: Mapping[str, Any], num_classes: int | None = None
    ) -> nn.Module:
        """Build the network from an Ultralytics model yaml of the family's modules.

        Raises:
            ModelFileError: One line for each key, module or argument that is not the family's.
        """
        config = self.plain_config(document)
        config["nc"] = num_classes or config["nc"]
        tasks = ultralytics_tasks()
        with _activation(tasks.Conv, nn.SiLU()):
            model = cast(nn.Module, tasks.DetectionModel(config, verbose=False))
        cast("dict[str, Any]", model.yaml).update(
            schema_version=SCHEMA_VERSION, spnas={"base": self.name, "sites": {}}
        )
        return model

    def mark(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Write into the first layer's module name what a loader needs to read this."""
        return marked_config(document)

    def plain_config(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Give the dictionary that Ultralytics builds the base network from: checked, one scale, no mark.

        Raises:
            ModelFileError: One line for each key, module or argument that is not the family's.
        """
        config = _with_first_module(document, lambda name: name.removesuffix(_MARK))
        check_yolo_document(config, self.family.modules)
        return {key: config[key] for key in _KEYS} | {"scale": next(iter(config["scales"]))}


def marked_config(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give a copy of a model yaml that Ultralytics alone refuses to build."""
    return _with_first_module(document, lambda name: name.removesuffix(_MARK) + _MARK)


def _with_first_module(document: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """Copy a model yaml with the first layer's module name changed, where there is one."""
    config = copy.deepcopy(dict(document))
    with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError):
        config["backbone"][0][2] = change(config["backbone"][0][2])
    return config


def record_architecture(model: nn.Module, architecture: Architecture) -> None:
    """Write the operators into the dictionary that Ultralytics would rebuild the model from; nothing on other networks.

    Whatever is saved with this model then never becomes the base network in silence.
    """
    config = getattr(model, "yaml", None)
    if not is_yolo(model) or not isinstance(config, dict) or architecture.is_base:
        return
    section = config.get("spnas") or {"base": _base_name(config)}
    config.update(marked_config(config), schema_version=SCHEMA_VERSION)
    scale = config.get("scale")
    if scale in config.get("scales", {}):
        config["scales"] = {scale: config["scales"][scale]}
    config["spnas"] = {**section, "sites": architecture.to_yaml()}


def _base_name(config: Mapping[str, Any]) -> str:
    """Name the base network that a model was built as, or, where it is none of ours, what no network is called.

    A yaml written from the model is then refused, not read as another network.
    """
    for family in FAMILIES:
        packaged = _packaged_yaml(family)
        if all(config.get(part) == packaged[part] for part in ("backbone", "head")):
            return f"{family.name}{config.get('scale')}"
    return Path(str(config.get("yaml_file", "unknown"))).stem


def is_yolo(model: nn.Module) -> bool:
    """Whether this is an Ultralytics model, of any task; does not import Ultralytics to find out."""
    tasks = sys.modules.get("ultralytics.nn.tasks")
    return tasks is not None and isinstance(model, tasks.BaseModel)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read the tensors of an Ultralytics checkpoint by Ultralytics' own loader, which unpickles the file."""
    model, _ = ultralytics_tasks().load_checkpoint(str(path))
    return cast("dict[str, Tensor]", model.state_dict())


def ultralytics_tasks() -> Any:
    """Import `ultralytics.nn.tasks`, leaving the process' thread settings as they were."""
    environment, threads = os.environ.get("OMP_NUM_THREADS"), torch.get_num_threads()
    from ultralytics.nn import tasks

    if environment is None:
        os.environ.pop("OMP_NUM_THREADS", None)
    else:
        os.environ["OMP_NUM_THREADS"] = environment
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
    return tasks


@contextlib.contextmanager
def _activation(conv: Any, activation: nn.Module) -> Iterator[None]:
    """Build with this activation whatever the process did before.

    Ultralytics keeps it in the class; a model yaml with another one that fails to build leaves that one behind.
    """
    before, conv.default_act = conv.default_act, activation
    try:
        yield
    finally:
        conv.default_act = before


def _packaged_yaml(family: YoloFamily) -> dict[str, Any]:
    """Read a family's model yaml out of the installed Ultralytics package."""
    ultralytics_tasks()
    from ultralytics.utils import ROOT, YAML

    return cast("dict[str, Any]", YAML.load(ROOT / "cfg" / "models" / family.file))


def check_yolo_document(document: Mapping[str, Any], modules: frozenset[str]) -> None:
    """Check that a model yaml says nothing but its YOLO: no other key, module or argument, nothing to be evaluated.

    Args:
        document: The network's part of a model yaml.
        modules: Names of the modules that may stand in it.

    Raises:
        ModelFileError: One line for each problem, naming its key.
    """
    check_keys(document, required=set(_KEYS), optional=_RUNTIME_KEYS)
    problems = [*_number_problems(document)]
    for part in ("backbone", "head"):
        rows = document[part]
        if not isinstance(rows, list) or not 1 <= len(rows) <= _MOST_LAYERS:
            problems.append(
                f"{part}: expected a list of layers, at most {_MOST_LAYERS}, got {rows!r:.80}"
            )
            continue
        problems += [
            f"{part}[{i}]: {problem}"
            for i, row in enumerate(rows)
            for problem in _row_problems(row, modules)
        ]
    if problems:
        raise ModelFileError(problems)


def _number_problems(document: Mapping[str, Any]) -> Iterator[str]:
    """Check the number of classes and the one scale."""
    nc, scales = document["nc"], document["scales"]
    if not _is_count(nc):
        yield f"nc: expected a number of classes, got {nc!r:.80}"
    entries = list(scales.values()) if isinstance(scales, Mapping) else []
    numbers = (
        entries[0]
        if len(entries) == 1 and isinstance(entries[0], list) and len(entries[0]) == 3
        else ()
    )
    if not numbers or not all(_is_number(number) and number > 0 for number in numbers):
        yield f"scales: expected exactly one entry [depth, width, max_channels], got {scales!r:.80}"


def _row_problems(row: Any, modules: frozenset[str]) -> Iterator[str]:
    """Check one layer `[from, repeats, module, args]`."""
    if not isinstance(row, list) or len(row) != 4:
        yield f"expected [from, repeats, module, args], got {row!r:.80}"
        return
    source, repeats, module, args = row
    sources = source if isinstance(source, list) and source else [source]
    if not all(isinstance(item, int) and _is_number(item) for item in sources):
        yield f"from: expected a layer's number or a list of them, got {source!r:.80}"
    if not _is_count(repeats, _MOST_REPEATS):
        yield f"repeats: expected a number up to {_MOST_REPEATS}, got {repeats!r:.80}"
    if not isinstance(module, str) or module not in modules:
        yield f"module: expected one of {', '.join(sorted(modules))}, got {module!r:.80}"
    if not isinstance(args, list) or not all(map(_is_literal, args)):
        yield f"args: expected a list of numbers and names YOLO uses, got {args!r:.80}"


def _is_count(value: Any, most: int = _LARGEST) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_number(value: Any) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and -_LARGEST <= value <= _LARGEST


def _is_literal(value: Any) -> bool:
    text = isinstance(value, str) and value in _ARGUMENT_TEXTS
    return text or value is None or isinstance(value, bool) or _is_number(value)


for _family in FAMILIES:
    for _scale in "nsmlx":
        register_network(Yolo(_family, _scale))
