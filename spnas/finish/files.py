"""Writes networks that Ultralytics does not export: ONNX, OpenVINO, TorchScript, named as Ultralytics names its own."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from spnas.latency.forms import keep_possible_forms
from spnas.latency.runtimes.onnx_export import export
from spnas.networks import deploy_model
from spnas.runs import atomic_file


def write_network(
    model: nn.Module,
    stem: Path,
    file_format: str,
    example: Tensor,
    names: Mapping[int, str] | None = None,
) -> Path:
    """Write a network's deployed form.

    Args:
        model: The training form; left as it is.
        stem: The file's path less the format's suffix.
        file_format: `onnx`, `openvino` or `torchscript`.
        example: An input `(N, C, H, W)`; the file's input has this shape.
        names: Class names, written into an ONNX file's metadata.

    Returns:
        The file; the folder of OpenVINO's two files.
    """
    possible = copy.deepcopy(model)
    keep_possible_forms(possible, example)
    deployed = deploy_model(possible)
    if file_format == "torchscript":
        return _write(stem.with_name(f"{stem.name}.torchscript"), _trace(deployed, example))
    content = export(deployed, example)
    if file_format == "onnx":
        return _write(stem.with_name(f"{stem.name}.onnx"), _with_names(content, names or {}))
    return _write_openvino(stem, content)


def runnable(path: Path) -> Path:
    """Give the file that a runtime opens: of OpenVINO's folder the one with the network."""
    return next(iter(sorted(path.glob("*.xml")))) if path.is_dir() else path


def _trace(network: nn.Module, example: Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, example), file)  # type: ignore[no-untyped-call]
    return file.getvalue()


def _with_names(content: bytes, names: Mapping[int, str]) -> bytes:
    """Add the class names as Ultralytics does, the text of a dictionary under `names`."""
    import onnx

    model = onnx.load_from_string(content)
    if names:
        onnx.helper.set_model_props(model, {"names": str(dict(names))})
    written: bytes = model.SerializeToString()
    return written


def _write_openvino(stem: Path, content: bytes) -> Path:
    import openvino

    folder = stem.with_name(f"{stem.name}_openvino_model")
    folder.mkdir(exist_ok=True)
    network = openvino.Core().read_model(model=content)
    openvino.save_model(network, folder / f"{stem.name}.xml", compress_to_fp16=False)
    return folder


def _write(path: Path, content: bytes) -> Path:
    with atomic_file(path) as file:
        file.write(content)
    return path
