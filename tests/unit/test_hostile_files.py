"""Files of strangers: each gives a model, a space or options, or an error of spnas, and nothing else happens."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from spnas.architecture import Architecture
from spnas.errors import InputError
from spnas.networks import get_network, load_model, load_pareto, model_document
from spnas.runs import RunDirectory, TrialRecord, write_trials
from spnas.search.config import make_config
from spnas.spaces import SearchSpace, load_space
from spnas.tasks import check_data

# What has hurt loaders of yaml, and numbers at every edge.
HOSTILE = st.sampled_from(
    [
        "__import__('os').system('touch HACKED')",
        "eval",
        "nn.Module",
        "torch.load",
        "os.system",
        "../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "spconv:nan",
        "ghost:1e-320",
        "spconv:0.5:0.5",
        "ldconv:points=1000000",
        "dualconv:1e-9",
        "conv\n1",
        "\x00",
        "",
        "*",
        -1,
        0,
        1,
        2,
        99,
        10**9,
        10**40,
        1e308,
        5e-324,
        float("inf"),
        float("nan"),
        True,
        None,
    ]
)
VALUES = st.recursive(
    st.one_of(HOSTILE, st.text(max_size=8), st.integers(), st.floats()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
TEXTS = [
    "!!python/object/apply:os.system ['touch HACKED']",
    "a: !!python/name:os.system",
    "a: !!bool perhaps",
    "a: !!timestamp never",
    "a: !!int x",
    "a: !!binary '*'",
    "a: 2026-13-45",
    "a: 0x" + "f" * 10_000,
    "a: " + "9" * 10_000,
    "? [a, b]\n: c",
    "<<: {a: b}\n<<: [c]",
    "a: &a [*a]",
    "a: &a {<<: *a}",
    "[" * 1000,
    "{a: " * 1000,
    "- " * 1000,
    "a: &0 [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{i}: &{i} [{', '.join([f'*{i - 1}'] * 9)}]\n" for i in range(1, 20))
    + "base: *19\nspnas: *19\nschema_version: *19\nspace: *19\ntrain: *19\n",
    "a: 1\na: 2",
    "\ufeff",
    "%YAML 9.9\n---\na: b",
    "--- a\n--- b",
    "a: b: c",
    "\t",
]
EXAMPLES = int(os.environ.get("SPNAS_FUZZ", "50"))  # thousands find more, in minutes
fuzz = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=EXAMPLES,
)


WATCHED = {"os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "socket.connect"}
done: list[str] | None = None


def audit(event: str, args: tuple[Any, ...]) -> None:
    """Note, while `done` is a list, programs that are run, connections, and files that are opened for writing."""
    if done is not None and (
        event in WATCHED or (event == "open" and set(str(args[1])) & set("wax+"))
    ):
        done.append(f"{event} {args}")


sys.addaudithook(audit)


@contextmanager
def nothing_else_happens() -> Iterator[None]:
    """Assert that the block runs no program, opens no connection, and writes nothing."""
    global done
    done = []
    try:
        yield
        assert done == []
    finally:
        done = None
    assert not Path("HACKED").exists()


def paths_in(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List the places of a document: of every value, those inside included."""
    inner: Any = ()
    if isinstance(document, dict):
        inner = document.items()
    elif isinstance(document, list):
        inner = enumerate(document)
    return [path, *(place for key, value in inner for place in paths_in(value, (*path, key)))]


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Copy a document with another value at a place."""
    if not path:
        return value
    changed = copy.deepcopy(document)
    target = changed
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return changed


def mutations(document: Any) -> st.SearchStrategy[Any]:
    """Copies of a document with one to three places changed."""
    one = st.tuples(st.sampled_from(paths_in(document)), VALUES)

    def change(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
        changed = document
        for path, value in sorted(changes, key=lambda item: -len(item[0])):
            changed = with_value(changed, path, value)
        return changed

    return st.lists(one, min_size=1, max_size=3, unique_by=lambda item: item[0][:2]).map(change)


def check(folder: Path, load: Callable[[Path], Any], kind: type, content: str) -> None:
    """Assert that a file loads as what it should be or gives an error of spnas in a few lines."""
    file = folder / "stranger.yaml"
    file.write_text(content, encoding="utf-8")
    problems: list[str] = []
    try:
        with nothing_else_happens():
            assert isinstance(load(file), kind)
    except InputError as error:
        problems = error.problems
    for problem in problems:
        assert 0 < len(problem) < 5000
        assert "\n" not in problem


RESNET = model_document(
    get_network("resnet20-cifar"),
    4,
    Architecture({"layer1.0.conv1": "spconv:0.25", "layer2.0.conv2": "ghost:0.5"}),
    forms={"layer1.0.conv1": "split"},
)
YOLO = model_document(get_network("yolov8n"), 3, Architecture({"model.3": "ghost:0.5"}))
SPACE = {
    "schema_version": 1,
    "base": "resnet20-cifar",
    "sites": [
        {"match": "*", "choices": ["regular", {"op": "spconv", "ratio": [0.5, 0.25]}]},
        {"match": "layer1.*", "choices": ["regular", "ghost:0.5", {"op": "pconv", "ratio": 0.25}]},
    ],
    "tie": ["layer2.*.conv1"],
}
OPTIONS = {"space": "yolov8n", "budget": "1m", "rungs": [1], "max_latency": "8ms", "lr": 0.1}


@fuzz
@given(mutations(RESNET))
def test_a_model_of_a_resnet(tmp_path: Path, document: Any) -> None:
    check_dumped(tmp_path, load_model, nn.Module, document)


@fuzz
@given(mutations(YOLO))
def test_a_model_of_a_yolo(tmp_path: Path, document: Any) -> None:
    check_dumped(tmp_path, load_model, nn.Module, document)


@fuzz
@given(mutations(SPACE))
def test_a_space(tmp_path: Path, document: Any) -> None:
    check_dumped(tmp_path, load_space, SearchSpace, document)


@fuzz
@given(mutations(OPTIONS))
def test_options(tmp_path: Path, document: Any) -> None:
    check_dumped(tmp_path, lambda file: make_config({}, file), object, document)


def check_dumped(folder: Path, load: Callable[[Path], Any], kind: type, document: Any) -> None:
    check(folder, load, kind, yaml.safe_dump(document, allow_unicode=True))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_text_that_yaml_readers_stumble_over(tmp_path: Path, text: str) -> None:
    check(tmp_path, load_model, nn.Module, text)
    check(tmp_path, load_space, SearchSpace, text)
    check(tmp_path, lambda file: make_config({}, file), object, text)
    check(tmp_path, lambda file: check_data("detect", str(file)), object, text)


@given(text=st.text(max_size=60))
@fuzz
def test_any_text(tmp_path: Path, text: str) -> None:
    check(tmp_path, load_model, nn.Module, text)
    check(tmp_path, load_space, SearchSpace, text)


def test_weights_that_run_code_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path}/HACKED",)

    torch.save({"conv1.weight": Bomb()}, tmp_path / "bomb.pt")
    (tmp_path / "found.yaml").write_text(yaml.safe_dump(RESNET))
    with pytest.raises(InputError, match="holds more than tensors"):
        load_model(tmp_path / "found.yaml", weights=tmp_path / "bomb.pt")
    assert not (tmp_path / "HACKED").exists()


@pytest.mark.parametrize(
    "name", ["../out", "a/b", "/tmp/x", ".", "..", ".hidden", "", "a\n", "a b"]
)
def test_a_run_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="run name"):
        RunDirectory.create(tmp_path / "results", name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "file", ["../../other.yaml", "/etc/passwd", "pareto/../x.yaml", "pareto", ""]
)
def test_a_front_lies_in_its_run(tmp_path: Path, file: str) -> None:
    run = RunDirectory.create(tmp_path, "run")
    record = TrialRecord(0, "complete", Architecture(), scores={"top1": 0.5}, latency_ms=1.0)
    write_trials(run.pareto_csv, [record], ("top1",), ("conv1",))
    header, row = run.pareto_csv.read_text().splitlines()
    run.pareto_csv.write_text(f"{header},file\n{row},{file}\n")
    with pytest.raises(InputError, match="expected files in pareto/"):
        load_pareto(run.path)
