"""Searched models inside real Ultralytics: train, resume, val, fuse, export, and how Ultralytics fails without spnas.

Each process costs about ten seconds of imports, so a few of them tell many things, printed as one line of JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spnas.architecture import Architecture
from spnas.networks import get_network, load_model, model_document
from spnas.runs.model_yaml import write_model_yaml

pytestmark = pytest.mark.e2e

ARCHITECTURE = Architecture(
    {
        "model.3": "spconv:0.25",
        "model.4.m.0.cv1": "ghost:0.5",
        "model.22.cv2.0.0": "ghost:0.5",
        "model.22.cv3.1.0": "spconv:0.5",
    }
)

HEADER = """
import json, os, sys
import numpy, torch
ARGS = dict(data="data.yaml", imgsz=64, batch=4, workers=0, plots=False, device="cpu", verbose=False)
ARGS["project"] = os.path.abspath("runs")

def operators(model):
    from spnas.operators import Operator
    return {name: type(m).name for name, m in model.named_modules() if isinstance(m, Operator)}

def settle(model, images):  # BatchNorm statistics of real inputs: the output then answers to the image
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for m in norms:
        m.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    for m in norms:
        m.momentum = 0.03
    model.eval()
"""

# Stock YOLO on a found yaml; interrupted after its first epoch of two. Then a pretrained base, inherited.
TRAIN = """
import spnas.ultralytics
from ultralytics import YOLO

class Interrupted(Exception):
    pass

def interrupt(trainer):
    raise Interrupted

model = YOLO("03-found.yaml")
model.add_callback("on_model_save", interrupt)
try:
    model.train(epochs=2, name="first", **ARGS)
except Interrupted:
    pass
trained = operators(model.trainer.model)

torch.manual_seed(0)
base = YOLO("yolov8n.yaml")
base.save("base.pt")
found = spnas.YOLO("03-found.yaml").load("base.pt")
name = "model.22.cv3.0.0.conv.weight"
same = torch.equal(found.model.state_dict()[name], base.model.state_dict()[name].half().float())
print(json.dumps({
    "trained": trained, "inherited": operators(found.model), "head_from_base": same,
    "trainer": f"{type(model.trainer).__module__}.{type(model.trainer).__name__}",
}))
"""

# A fresh process that knows nothing of spnas but the checkpoint.
RESUME = """
from ultralytics import YOLO
import ultralytics.nn.tasks as tasks

model = YOLO("runs/first/weights/last.pt")
imported = "spnas.ultralytics" in sys.modules
model.train(resume=True)
resumed = operators(model.trainer.model)
best = YOLO("runs/first/weights/best.pt")
loaded = operators(best.model)
score = best.val(data="data.yaml", imgsz=64, workers=0, plots=False, verbose=False)
score = score.results_dict["metrics/mAP50-95(B)"]
images = torch.rand(4, 3, 64, 64)
image = images[:1]
best = YOLO("runs/first/weights/best.pt")
settle(best.model, images)
best.save("settled.pt")
best = YOLO("settled.pt")
with torch.no_grad():
    plain = best.model.eval()(image)[0]
    other = best.model(images[1:2])[0]
    best.fuse()
    fused = best.model(image)[0]
left = [type(m).__name__ for m in best.model.modules() if "BatchNorm" in type(m).__name__]
path = YOLO("settled.pt").export(format="onnx", imgsz=64, simplify=False, verbose=False)
import onnxruntime
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
exported = torch.from_numpy(session.run(None, {session.get_inputs()[0].name: image.numpy()})[0])
predicted = len(YOLO(path, task="detect").predict("images/val", imgsz=64, verbose=False))
again = YOLO("runs/first/weights/best.pt")
again.train(epochs=1, name="again", **ARGS)
safe, _ = tasks.torch_safe_load("runs/first/weights/best.pt", safe_only=True)
print(json.dumps({
    "imported": imported, "resumed": resumed, "loaded": loaded, "map": score, "left": left,
    "fuse_error": float((plain - fused).abs().max()), "spread": float((plain - other).abs().max()),
    "onnx_error": float((plain - exported).abs().max()), "predicted": predicted,
    "again": operators(again.trainer.model), "safe": operators(safe["model"]),
    "params": sum(p.numel() for p in again.trainer.model.parameters()),
}))
"""

# What stock Ultralytics says where spnas is not imported, and where it is not installed.
WITHOUT = """
from ultralytics import YOLO
said = {}

def attempt(name, action):
    try:
        action()
        said[name] = "nothing"
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"

attempt("yaml", lambda: YOLO("03-found.yaml"))
attempt("load_model checkpoint", lambda: YOLO("stock.pt").train(epochs=1, name="stock", **ARGS))
said["face imported"] = str("spnas.ultralytics" in sys.modules)
for name in [name for name in sys.modules if name.split(".")[0] == "spnas"]:
    del sys.modules[name]
sys.modules["spnas"] = None  # as if it were not installed
attempt("best.pt", lambda: YOLO("runs/first/weights/best.pt"))
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """A working folder with a few images of blood cells and a found model."""
    folder = tmp_path_factory.mktemp("ultralytics")
    for split, count in (("train", 8), ("val", 4)):
        images = sorted((shared_data / "bccd/images" / split).glob("*.jpg"))[:count]
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for image in images:
            label = shared_data / "bccd/labels" / split / f"{image.stem}.txt"
            shutil.copy(image, folder / "images" / split)
            shutil.copy(label, folder / "labels" / split)
    shutil.copy(shared_data / "bccd/data.yaml", folder)
    document = model_document(get_network("yolov8n"), 3, ARCHITECTURE)
    write_model_yaml(folder / "03-found.yaml", document)
    return folder


def run(folder: Path, script: str) -> dict[str, Any]:
    """Run a script in a fresh process; give the JSON it prints last."""
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "OMP_NUM_THREADS": "1",
        "YOLO_CONFIG_DIR": str(folder / "config"),
    }
    done = subprocess.run(
        [sys.executable, "-c", HEADER + script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


@pytest.fixture(scope="module")
def trained(folder: Path) -> dict[str, Any]:
    return run(folder, TRAIN)


@pytest.fixture(scope="module")
def resumed(folder: Path, trained: dict[str, Any]) -> dict[str, Any]:
    return run(folder, RESUME)


@pytest.fixture(scope="module")
def without(folder: Path, trained: dict[str, Any]) -> dict[str, Any]:
    import torch

    model = load_model(folder / "03-found.yaml")
    torch.save({"model": model, "train_args": {}}, folder / "stock.pt")
    return run(folder, WITHOUT)


OPERATORS = {site: choice.op for site, choice in ARCHITECTURE.items()}


def test_stock_yolo_trains_a_found_yaml(trained: dict[str, Any]) -> None:
    assert trained["trained"] == OPERATORS


def test_processes_of_a_multi_gpu_training_would_import_spnas(trained: dict[str, Any]) -> None:
    assert trained["trainer"] == "spnas.ultralytics.SpnasDetectionTrainer"


def test_operators_of_the_head_survive_weights_with_another_class_count(
    trained: dict[str, Any],
) -> None:
    assert trained["inherited"] == OPERATORS
    assert trained["head_from_base"]


def test_a_checkpoint_imports_spnas_by_itself(resumed: dict[str, Any]) -> None:
    assert resumed["imported"]
    assert resumed["loaded"] == OPERATORS


def test_training_goes_on_with_the_operators(resumed: dict[str, Any]) -> None:
    assert resumed["resumed"] == OPERATORS
    assert resumed["again"] == OPERATORS


def test_val_fuse_and_predict_keep_the_result(resumed: dict[str, Any]) -> None:
    assert resumed["left"] == []
    assert resumed["fuse_error"] < 1e-3 * resumed["spread"]
    assert resumed["predicted"] == 4
    assert 0 <= resumed["map"] <= 1


def test_export_equals_the_model(resumed: dict[str, Any]) -> None:
    assert resumed["onnx_error"] < 1e-3 * resumed["spread"]


def test_restricted_loading_accepts_the_checkpoint(resumed: dict[str, Any]) -> None:
    assert resumed["safe"] == OPERATORS


def test_stock_ultralytics_refuses_a_found_yaml(without: dict[str, Any]) -> None:
    assert without["yaml"] == "KeyError: 'Conv (needs: import spnas.ultralytics)'"


def test_a_checkpoint_of_load_model_never_loses_its_operators(without: dict[str, Any]) -> None:
    assert without["face imported"] == "False"
    assert without["load_model checkpoint"] == "KeyError: 'Conv (needs: import spnas.ultralytics)'"


def test_a_checkpoint_fails_where_spnas_is_missing(without: dict[str, Any]) -> None:
    assert without["best.pt"].startswith("ModuleNotFoundError")
    assert "spnas" in without["best.pt"]
