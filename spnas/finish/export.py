"""Exports a fully trained model's deployed form, checks the file against torch and times it beside the base's."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor, nn

from spnas.device import resolve_device
from spnas.errors import ConfigError, DeviceError, SpnasError
from spnas.finish import files, yolo
from spnas.finish.model import FoundModel, find_model
from spnas.finish.options import TrainingOptions
from spnas.finish.start import base_network
from spnas.latency import Measurement
from spnas.latency.exported import FILE_FORMATS, measure_files, run_file
from spnas.latency.images import smooth_images
from spnas.latency.runtimes.output_check import check_output, effective_dtype, expect
from spnas.latency.runtimes.session import inference_copy
from spnas.names import near_miss

ENGINE = "engine"  # TensorRT; only Ultralytics makes it, for a YOLO
FORMATS = (*sorted(FILE_FORMATS), ENGINE)


@dataclass(frozen=True)
class Exported:
    """An exported model.

    Attributes:
        path: The file, or the folder of OpenVINO's files.
        format: A name of `FORMATS`.
        imgsz: Height and width of its input, pixels.
        batch: Images of its input.
        max_error: How far its output is off that of the trained model in torch, before anything was folded, as a share
            of the largest value of the output's channel.
        latency: Its latency beside the base network's exported in the same way; None where it was not measured.
    """

    path: Path
    format: str
    imgsz: int
    batch: int
    max_error: float
    latency: Measurement | None = None


def export_model(
    path: str | PathLike[str],
    *,
    format: str = "onnx",
    imgsz: int | None = None,
    batch: int = 1,
    device: str = "auto",
    weights: str | PathLike[str] | None = None,
    threads: int = 1,
    latency: bool = True,
) -> Exported:
    """Export a trained model in its deployed form: operators rewritten, every BatchNorm folded.

    Args:
        path: The training's folder, weights in it, or the model yaml that was trained.
        format: `onnx`, `openvino`, `torchscript`, or for a YOLO on a CUDA device `engine` (TensorRT).
        imgsz: Height and width of the input, pixels; None for the size it was trained at.
        batch: Images of the input.
        device: Where an `engine` is built and checked.
        weights: Trained weights; None for the best ones of its training.
        threads: CPU threads that latency is measured with.
        latency: Measure it, of this file beside the base network's, on the CPU; not of an `engine`.

    Returns:
        The file beside the weights, and what was measured.

    Raises:
        InputError: Something given cannot be used.
        SpnasError: The file's output is not the model's; the file is removed then.
    """
    found = find_model(path)
    file = found.trained_weights(weights)
    options = TrainingOptions(found.imgsz(imgsz), "cpu", batch=batch)
    if threads < 1:
        raise ConfigError(f"--threads: expected a number above 0, got {threads}")
    _check_format(format, found)
    where = resolve_device(device) if format == ENGINE else torch.device("cpu")
    _check_engine(format, where)
    example = smooth_images(options.imgsz, batch)
    # In eval mode, on the CPU.
    model = yolo.load(file) if found.is_yolo else found.build_trained(file).eval()
    written = _write(found, model, file, format, example, where)
    try:
        max_error = _check(written, format, model, example, where)
    except SpnasError:
        _remove(written)
        raise
    measured = None
    if latency and format != ENGINE:
        measured = _measure(found, written, format, example, threads)
    return Exported(written, format, options.imgsz, batch, max_error, measured)


def _measure(
    found: FoundModel, written: Path, format: str, example: Tensor, threads: int
) -> Measurement:
    """Measure the file's latency beside that of the base network's, which is exported for it."""
    with tempfile.TemporaryDirectory() as folder:
        base = _write_base(found, Path(folder), format, example)
        own, other = (files.runnable(item) for item in (written, base))
        return measure_files(own, other, format, example, threads=threads)


def _check_format(name: str, found: FoundModel) -> None:
    """Check that there is such a format, for such a network, and what runs it."""
    allowed = FORMATS if found.is_yolo else tuple(sorted(FILE_FORMATS))
    if name not in allowed:
        raise ConfigError(
            f"--format: expected one of {', '.join(allowed)} for {found.document.network.name}, got {name!r}"
            f"{near_miss(name, allowed)}"
        )
    if name != ENGINE:
        FILE_FORMATS[name].check()


def _check_engine(name: str, device: torch.device) -> None:
    if name == ENGINE and device.type != "cuda":
        raise DeviceError(f"--format engine: expected a CUDA device, got {device}")
    if name == ENGINE and find_spec("tensorrt") is None:
        raise ConfigError("--format engine: install TensorRT (pip install tensorrt)")


def _write(
    found: FoundModel,
    model: nn.Module,
    weights: Path,
    name: str,
    example: Tensor,
    device: torch.device,
) -> Path:
    """Write the model's file beside its weights."""
    if found.is_yolo:
        return yolo.export(weights, name, example.shape, device)
    names = found.args.get("names")
    return files.write_network(model, weights.with_suffix(""), name, example, names)


def _write_base(found: FoundModel, folder: Path, name: str, example: Tensor) -> Path:
    """Write the base network's file in the same way, with fresh weights: latency does not depend on them."""
    if found.is_yolo:
        return yolo.export(yolo.base_yaml(found, folder), name, example.shape, torch.device("cpu"))
    return files.write_network(base_network(found), folder / "base", name, example)


def _check(
    written: Path, name: str, model: nn.Module, example: Tensor, device: torch.device
) -> float:
    """Compare what the file gives with what the training form gives in torch; give the largest error."""
    expected = expect(inference_copy(model), example, effective_dtype(torch.float32, device))
    if name == ENGINE:
        return check_output("tensorrt", yolo.run_file(written, example, device), expected)
    got = run_file(files.runnable(written), name, example)
    return check_output(FILE_FORMATS[name].runtime, got, expected)


def _remove(written: Path) -> None:
    if written.is_dir():
        shutil.rmtree(written)
    else:
        written.unlink(missing_ok=True)
