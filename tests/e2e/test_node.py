"""A search on a Ray cluster: trials on two nodes, latency measured on a third one; all nodes are on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import ray
import torch
import yaml
from ray.cluster_utils import Cluster
from ray.util.placement_group import placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import nn

from spnas.cli import main
from spnas.errors import ConfigError, DeviceLostError
from spnas.search.cluster import ray_cluster
from spnas.search.config import SearchConfig
from spnas.search.devices import NodeShare
from spnas.search.objective import TrialSettings
from spnas.search.parcel import Parcel
from spnas.search.plan import make_plan
from spnas.search.remote import RemoteBench
from spnas.search.runner import trial_resources
from spnas.training import Schedule

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes that train, one trial each; tests add the one that measures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        # A node that is gone refuses connections, and is soon known to be; a slow one has the usual ten seconds.
        health = {"health_check_period_ms": 500, "health_check_failure_threshold": 3}
        head = {"num_cpus": 1, "include_dashboard": False, "_system_config": health}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def command(cluster: Cluster, signs: Path) -> list[str]:
    """A search on a few digits that measures on the node with a `jetson`."""
    options = "base_epochs: 1\nepochs: 60\nrungs: []\ncpus: 1\nmax_latency: 9x\ninherit: weights\n"
    (signs / "config.yaml").write_text(options)
    return [
        *("search", "--space", "resnet20-cifar", "--data", str(signs / "signs")),
        *("--budget", "4trials", "--results", str(signs / "results"), "--name", "node"),
        *("--config", str(signs / "config.yaml")),
        *("--address", cluster.address, "--latency-on", "node:jetson"),
    ]


@pytest.fixture
def signs(shared_data: Path, tmp_path: Path) -> Path:
    """A folder with a few images of each of two digits."""
    for split, number in (("train", 16), ("val", 8)):
        for digit in sorted((shared_data / "sign_digits" / split).iterdir())[:2]:
            copies = tmp_path / "signs" / split / digit.name
            copies.mkdir(parents=True)
            for file in sorted(digit.glob("*.jpg"))[:number]:
                (copies / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_a_search_measures_on_the_node_that_offers_the_resource_and_outlives_one_that_trains(
    cluster: Cluster, command: list[str], signs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("spnas: error: --latency-on node:jetson: no node of the cluster offers")
    assert not (signs / "results").exists()

    node = cluster.add_node(num_cpus=0, resources={"jetson": 1})
    run = signs / "results" / "node"
    with subprocess.Popen(
        [sys.executable, "-m", "spnas", *command],
        cwd=signs,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as search:
        trains = next(other for other in cluster.worker_nodes if other is not node)
        while search.poll() is None and not (_ended_trials(run) >= 2 and _is_training(trains)):
            time.sleep(0.05)
        cluster.remove_node(trains, allow_graceful=False)
        said, _ = search.communicate(timeout=400)
    assert search.returncode == 0, said
    assert ".cc:" not in said  # the last page of the node's own log, which Ray prints
    where = json.loads((run / "environment.json").read_text())["latency"]
    assert where["ray_node"] == node.node_id != cluster.head_node.node_id
    trials = pd.read_csv(run / "trials.csv")
    assert sorted(trials["trial"]) == [0, 1, 2, 3]
    assert trials["state"].tolist() == ["complete"] * 4
    # Each node has a core for one trial, so that two at a time ran on two nodes.
    log = (run / "log.txt").read_text()
    assert "2 trials at a time on 2 nodes" in log
    assert trials["started"][:2].max() < trials["finished"].min()
    assert "the worker died or did not answer" in log
    assert log.count("it is run again") == 1
    assert "nodes left: 1 of 2; trials at a time from now on: 1" in log
    assert (trials[["latency_ms", "latency_ratio", "memory_mb"]] > 0).all(axis=None)
    model = next((run / "pareto").iterdir())
    metrics = yaml.safe_load(model.read_text())["metrics"]
    assert (metrics["node"], metrics["device"], metrics["runtime"]) == (
        *("jetson", where["device"]),
        {"cpu": "onnxruntime", "mps": "torch"}.get(where["device"], "cuda-graph-fp16"),
    )
    cluster.remove_node(node)


def _is_training(node: Any) -> bool:
    """Whether a trial runs on a node right now: Ray puts what a worker is doing into its command line."""
    raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
    with suppress(psutil.Error):
        return any(".train" in "".join(one.cmdline()) for one in raylet.children(recursive=True))
    return False


def _ended_trials(run: Path) -> int:
    table = run / "trials.csv"
    return len(pd.read_csv(table)) if table.is_file() else 0


def test_files_of_the_run_reach_another_node(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "base.pt").write_bytes(b"weights")
    (tmp_path / "data.yaml").write_text("names: [a]")
    (tmp_path / "folder").mkdir()
    common = {"num_classes": 1, "imgsz": 32, "device": "cpu", "threads": 1, "seed": 0}
    settings = TrialSettings(
        **common,
        network="resnet20-cifar",
        kind="classify",
        data=str(tmp_path / "data.yaml"),
        weights=str(tmp_path / "base.pt"),
        schedule=Schedule(epochs=1),
    )
    folder = replace(settings, data=str(tmp_path / "folder"))

    def read(parcel: Parcel, given: TrialSettings) -> tuple[str, bytes, bytes]:
        with parcel.unpacked(given) as found:
            texts = [Path(file).read_bytes() for file in (found.weights, found.data or "")]
        assert not Path(found.weights).parent.exists()  # workers end without cleaning up
        return (ray.get_runtime_context().get_node_id(), *texts)

    node = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        parcel, other = Parcel(settings), Parcel(folder)
        for file in (tmp_path / "base.pt", tmp_path / "data.yaml"):
            file.unlink()
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        task = ray.remote(read).options(scheduling_strategy=there)
        assert ray.get(task.remote(parcel, settings)) == (node.node_id, b"weights", b"names: [a]")
        with other.unpacked(folder) as found:
            assert found.data == folder.data  # a folder is on every node
        plan = make_plan(SearchConfig(space="resnet20-cifar", budget="1trials", device="cpu"))
        # Only on nodes that were checked, though the head, which Ray prefers, is free.
        checked = replace(plan, nodes=(NodeShare(node.node_id, 1, 1.0),))
        place = trial_resources(checked).to_placement_group()
        assert place.wait(timeout_seconds=60)
        assert set(placement_group_table(place)["bundles_to_node_id"].values()) == {node.node_id}
        remove_placement_group(place)
        with pytest.raises(ConfigError, match=r"one that has called ray\.init"), ray_cluster(plan):
            pass
    finally:
        ray.shutdown()


def _alive() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def test_a_node_that_is_lost_is_told_and_used_again_once_it_is_back(cluster: Cluster) -> None:
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        node = cluster.add_node(num_cpus=0, resources={"board": 1})
        wrong = RemoteBench("board", "abacus")
        with pytest.raises(ConfigError, match="unknown runtime 'abacus'"):
            wrong.describe()
        del wrong  # frees the resource

        bench = RemoteBench("board", "torch", patience_s=3.0)
        assert bench.describe()["ray_node"] == node.node_id
        # A tenth of the base's work: faster also beside other tests.
        candidate = nn.Conv2d(3, 64, 3)
        base = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Conv2d(64, 64, 3))
        networks = candidate, base, torch.rand(1, 3, 64, 64)
        measured = bench.measure(*networks)
        assert measured.latency.ratio < 1
        assert measured.memory_mb > 0

        cluster.remove_node(node, allow_graceful=False)
        with pytest.raises(DeviceLostError, match=r"node:board (was lost|is gone): "):
            bench.measure(*networks)

        bench.patience_s = 120.0
        back = cluster.add_node(num_cpus=0, resources={"board": 1})
        again = bench.measure(*networks)
        assert again.latency.ratio < 1
        assert bench.describe()["ray_node"] == back.node_id
    finally:
        ray.shutdown()
