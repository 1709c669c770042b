"""What nodes of a cluster have to have alike, and how many trials they take."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from PIL import Image

from spnas.errors import ConfigError
from spnas.search import nodes
from spnas.search.budget import Budget, Ledger
from spnas.search.cluster import ray_cluster
from spnas.search.config import SearchConfig
from spnas.search.devices import NodeShare
from spnas.search.nodes import NodeFacts, NodeWatch, describe_node
from spnas.search.plan import make_plan
from spnas.tasks import check_data


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("train/a/1", "val/a/1"):
        (tmp_path / name).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_equal_nodes_have_no_problem_and_others_say_in_what_they_differ(data: Path) -> None:
    info = check_data("classify", str(data))
    here = describe_node("cpu", info)
    assert here.problem(describe_node("cpu", info)) is None
    old = dataclasses.replace(here, version="0.0.1")
    assert here.problem(old) == f"expected spnas {here.version} as here, got 0.0.1"
    other = NodeFacts(here.version, "abacus", here.data)
    assert f"expected {here.device} as here, got abacus" in str(here.problem(other))
    assert describe_node(None, info).device is None

    Image.new("RGB", (9, 99)).save(data / "val" / "a" / "1.png")
    assert "expected the data set under the same path" in str(
        here.problem(describe_node("cpu", info))
    )
    (data / "val").rename(data / "elsewhere")
    assert f"got FileNotFoundError: {data / 'val'}" in str(here.problem(describe_node("cpu", info)))


def test_labels_count_as_data(tmp_path: Path) -> None:
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "images" / split / "a.png")
        (tmp_path / "labels" / split / "a.txt").write_text("0 .5 .5 .5 .5\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [a]\n")
    info = check_data("detect", str(tmp_path / "data.yaml"))
    here = describe_node("cpu", info)
    assert here.data is not None
    assert here.data.startswith("4 files")
    (tmp_path / "labels" / "val" / "a.txt").unlink()
    assert "3 files" in str(here.problem(describe_node("cpu", info)))


def test_each_node_adds_what_it_offers() -> None:
    config = SearchConfig(
        space="resnet20-cifar", budget="30cpu-min", cpus=2, cpus_per_trial=2, device="cpu"
    )
    plan = make_plan(config)
    assert (plan.slots, plan.devices) == (1, 2.0)
    assert plan.with_node("b", cpus=1, gpus=8) is plan  # too small for a trial
    larger = plan.with_node("b", cpus=64, gpus=0)  # `cpus` holds for each node
    assert (larger.nodes, larger.slots, larger.devices) == ((NodeShare("b", 1, 2.0),), 2, 4.0)
    gpus = dataclasses.replace(plan, gpus=2, slots=2, devices=4.0)
    wider = gpus.with_node("b", cpus=8, gpus=4)
    assert (wider.slots, wider.devices) == (
        3,
        6.0,
    )  # the budget counts cores, the two for each trial


def test_a_lost_node_lowers_what_runs_and_what_is_counted_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now, alive = [0.0], {"a", "b", "later"}
    known = [{"NodeID": name, "Alive": True} for name in ("a", "b", "later")]
    monkeypatch.setattr(
        nodes.ray, "nodes", lambda: [{**n, "Alive": n["NodeID"] in alive} for n in known]
    )
    ledger = Ledger(Budget.parse("60cpu-min"), 3.0, clock=lambda: now[0])
    work = SimpleNamespace(slots=5, ledger=ledger)
    shares = NodeShare("a", 3, 2.0), NodeShare("b", 2, 1.0)
    watch = NodeWatch(shares, work, clock=lambda: now[0])
    watch.check()
    assert (work.slots, work.ledger.devices) == (5, 3.0)
    alive.remove("b")
    watch.check()  # it looks every few seconds only
    assert work.slots == 5
    for _ in range(3):
        now[0] += 10
        watch.check()
    assert (work.slots, work.ledger.devices) == (3, 2.0)
    assert work.ledger.spent == 10 * 3 + 20 * 2
    assert caplog.messages == ["nodes left: 1 of 2; trials at a time from now on: 3"]


def test_ray_client_is_refused_with_what_to_do() -> None:
    config = SearchConfig(
        space="resnet20-cifar", budget="1trials", address="ray://head:10001", device="cpu"
    )
    with (
        pytest.raises(ConfigError, match=r"expected auto or HOST:PORT .* ray job submit"),
        ray_cluster(make_plan(config)),
    ):
        pass


def test_a_termination_while_ray_starts_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own handler of SIGTERM, in place until it has started, leaves the process by itself."""

    def terminated(**_: Any) -> None:
        sys.exit(15)

    monkeypatch.setattr(ray, "init", terminated)
    plan = make_plan(SearchConfig(space="resnet20-cifar", budget="1trials", device="cpu"))
    with pytest.raises(KeyboardInterrupt), ray_cluster(plan):
        pass
