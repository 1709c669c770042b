"""A found YOLO after the search, on real images: spnas train, val, export; its files where spnas is not installed.

Each process costs about ten seconds of imports, so one of them runs all commands, and one lacks spnas.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spnas.architecture import Architecture
from spnas.networks import get_network, model_document
from spnas.runs import RunDirectory, write_model_yaml
from spnas.search.config import make_config, write_config

pytestmark = pytest.mark.e2e

FOUND = Architecture({"model.3": "spconv:0.25", "model.22.cv3.1.0": "ghost:0.5"})
YAML = "run/pareto/00-found.yaml"

COMMANDS = """
import contextlib, io, json, torch
from spnas.cli import main

def run(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = main(list(words))
    return [code, out.getvalue()]

import spnas.finish.yolo as face
class Interrupted(Exception):
    pass
def interrupt(trainer):
    if trainer.epoch == 0:
        raise Interrupted
original = face.YOLO.train
def interrupted(self, **options):
    self.add_callback("on_model_save", interrupt)
    return original(self, **options)
face.YOLO.train = interrupted
try:
    run("train", YAML, "--epochs", "2", "--batch", "4", "--device", "cpu", "workers=0", "plots=False")
except Interrupted:
    pass
face.YOLO.train = original
said = {"resumed": run("train", YAML, "--resume"), "again": run("train", YAML, "--resume")}
said["val"] = run("val", YAML, "--json", "--device", "cpu")
said["onnx"] = run("export", YAML, "--json")
said["torchscript"] = run(
    "export", "run/trained/00-found", "--format", "torchscript", "--no-latency", "--json"
)
print(json.dumps(said))
"""

WITHOUT_SPNAS = """
import json, sys
sys.path[:0] = PACKAGES
from ultralytics import YOLO
said = {}
try:
    YOLO("run/trained/00-found/weights/best.pt")
except Exception as error:
    said["best.pt"] = f"{type(error).__name__}: {error}"
for file in ("best.onnx", "best.torchscript"):
    model = YOLO(f"run/trained/00-found/weights/{file}", task="detect")
    said[file] = [len(model.predict("images/val", imgsz=64, verbose=False)), model.names]
said["spnas"] = "spnas.ultralytics" in sys.modules
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """What a search of yolov8n at 64 px would leave, and a few images of blood cells."""
    folder = tmp_path_factory.mktemp("finish")
    source = shared_data / "bccd"
    for split, count in (("train", 8), ("val", 4)):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for image in sorted((source / "images" / split).glob("*.jpg"))[:count]:
            label = source / "labels" / split / f"{image.stem}.txt"
            (folder / "images" / split / image.name).write_bytes(image.read_bytes())
            (folder / "labels" / split / label.name).write_bytes(label.read_bytes())
    run = RunDirectory.create(folder, "run")
    names = yaml.safe_load((source / "data.yaml").read_text())["names"]
    paths = {split: str(folder / "images" / split) for split in ("train", "val")}
    run.data.write_text(yaml.safe_dump({**paths, "names": names}))
    config = make_config({"space": "yolov8n", "budget": "3trials"})
    run.config.write_text(write_config(config, {"task": "detect"}))
    network = get_network("yolov8n")
    torch.manual_seed(0)
    torch.save(network.build(3).state_dict(), run.base_weights)
    content = model_document(network, 3, FOUND) | {"metrics": {"imgsz": 64}}
    write_model_yaml(run.pareto_dir / "00-found.yaml", content)
    return folder


def last_json(folder: Path, *command: str, **environment: str) -> dict[str, Any]:
    """Run Python in a fresh process; give the JSON it prints last."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "YOLO_CONFIG_DIR": str(folder / "yolo")}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    said: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return said


@pytest.fixture(scope="module")
def said(folder: Path, repo_root: Path) -> dict[str, Any]:
    return last_json(folder, "-c", f"YAML = {YAML!r}" + COMMANDS, PYTHONPATH=str(repo_root))


def test_an_interrupted_training_goes_on_to_its_end(folder: Path, said: dict[str, Any]) -> None:
    code, text = said["resumed"]
    assert code == 0
    assert "best weights: run/trained/00-found/weights/best.pt" in text
    rows = (folder / "run/trained/00-found/results.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows[1:]] == ["1", "2"]
    assert said["again"][0] == 2  # complete, nothing to resume


def test_val_gives_the_figures_of_trials_csv(said: dict[str, Any]) -> None:
    code, text = said["val"]
    assert code == 0
    assert set(json.loads(text[text.index("{") :])) >= {"map50_95", "map50"}


def test_exports_are_checked_and_timed_beside_the_base(said: dict[str, Any]) -> None:
    for name in ("onnx", "torchscript"):
        code, text = said[name]
        assert code == 0
        assert 0 <= json.loads(text)["max_error"] < 1e-3
    measured = json.loads(said["onnx"][1])["latency"]
    assert measured["runtime"] == "onnxruntime"
    assert 0.3 < measured["ratio"] < 3


def test_files_run_where_spnas_is_not_installed(folder: Path, said: dict[str, Any]) -> None:
    script = WITHOUT_SPNAS.replace("PACKAGES", repr(site.getsitepackages()))
    without = last_json(
        folder, "-I", "-S", "-c", script, YOLO_AUTOINSTALL="false", YOLO_OFFLINE="true"
    )
    assert not without["spnas"]
    assert without["best.pt"].startswith("ModuleNotFoundError: No module named 'spnas")
    for file in ("best.onnx", "best.torchscript"):
        count, names = without[file]
        assert count == 4
        assert list(names.values()) == ["RBC", "WBC", "Platelets"]
