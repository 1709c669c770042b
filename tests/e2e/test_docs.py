"""The Python that README and documentation show runs; pages that are not here have tests of their own."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from ultralytics import YOLO

import spnas
from spnas.search.config import read_config

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

PAGES = (
    "README",
    *(f"docs/{page}" for page in ("index", "networks", "ultralytics", "after-the-search")),
)
WITHOUT_RUN = tuple(f"docs/{page}" for page in ("search", "latency", "tasks", "extending"))
SHORT = "epochs=1, imgsz=64, batch=8, workers=0, plots=False"


def python_of(page: Path) -> str:
    """Put a page's blocks together, as someone would who types one after another."""
    text = page.read_text()
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def run(source: str, folder: Path) -> None:
    (folder / "example.py").write_text(f"if __name__ == '__main__':\n{indented(source)}")
    command = [sys.executable, "example.py"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]


def indented(source: str) -> str:
    return "".join(f"    {line}\n" for line in source.splitlines())


@pytest.fixture(scope="module")
def folder(detection_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples name: runs, data sets and weights."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "results").mkdir()
    for name in ("RUN", "my-run", "first"):
        (folder / "results" / name).symlink_to(detection_run)
    config = read_config(detection_run / "config.yaml")[0]
    data = yaml.safe_load(Path(str(config.data)).read_text())
    data["path"] = str(detection_run.parents[1])
    for name in ("my.yaml", "data.yaml"):
        (folder / name).write_text(yaml.safe_dump(data))
    (folder / "images").symlink_to(detection_run.parents[1] / "images")
    (folder / "base.pt").symlink_to(detection_run / "weights" / "base.pt")
    torch.save(spnas.load_pareto(detection_run)[0].build().state_dict(), folder / "trained.pt")
    YOLO("yolov8n.yaml").save(folder / "yolov8n.pt")
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_examples_on_a_run(page: str, folder: Path, repo_root: Path) -> None:
    source = python_of(repo_root / f"{page}.md")
    found = sorted((folder / "results" / "RUN" / "pareto").iterdir())[0].name
    source = re.sub(r"\d\d-[0-9a-f]{8}\.yaml", found, source)
    source = source.replace("epochs=100", SHORT)
    run(source, folder)


@pytest.mark.parametrize("page", WITHOUT_RUN)
def test_examples_by_themselves(page: str, tmp_path: Path, repo_root: Path) -> None:
    run(python_of(repo_root / f"{page}.md"), tmp_path)
