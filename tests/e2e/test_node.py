"""A search on a Ray cluster: trials on two nodes, latency measured on a third one; all nodes are on this machine."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import ray
import torch
import yaml
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from torch import nn

from spnas.cli import main
from spnas.errors import ConfigError, DeviceLostError
from spnas.search.cluster import ray_cluster
from spnas.search.config import SearchConfig
from spnas.search.objective import TrialSettings
from spnas.search.parcel import Parcel
from spnas.search.plan import make_plan
from spnas.search.remote import RemoteBench
from spnas.training import Schedule

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of two nodes that train, one trial each; tests add the one that measures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        head = {"num_cpus": 1, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        cluster.add_node(num_cpus=1)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def command(cluster: Cluster, signs: Path) -> list[str]:
    """A search on a few digits that measures on the node with a `jetson`."""
    options = "base_epochs: 1\nepochs: 1\nrungs: []\ncpus: 1\nmax_latency: 9x\n"
    (signs / "config.yaml").write_text(options)
    return [
        *("search", "--space", "resnet20-cifar", "--data", str(signs / "signs")),
        *("--budget", "2trials", "--results", str(signs / "results"), "--name", "node"),
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


def test_a_search_measures_on_the_node_that_offers_the_resource(
    cluster: Cluster, command: list[str], signs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith("spnas: error: --latency-on node:jetson: no node of the cluster offers")
    assert not (signs / "results").exists()

    node = cluster.add_node(num_cpus=0, resources={"jetson": 1})
    done = subprocess.run(
        [sys.executable, "-m", "spnas", *command],
        cwd=signs,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = signs / "results" / "node"
    where = json.loads((run / "environment.json").read_text())["latency"]
    assert where["ray_node"] == node.node_id != cluster.head_node.node_id
    trials = pd.read_csv(run / "trials.csv")
    assert trials["state"].tolist() == ["complete"] * 2
    # Each node has a core for one trial, so that two at a time ran on two nodes.
    assert "2 trials at a time on 2 nodes" in (run / "log.txt").read_text()
    assert trials["started"].max() < trials["finished"].min()
    assert (trials[["latency_ms", "latency_ratio", "memory_mb"]] > 0).all(axis=None)
    model = next((run / "pareto").iterdir())
    metrics = yaml.safe_load(model.read_text())["metrics"]
    assert (metrics["node"], metrics["device"], metrics["runtime"]) == (
        *("jetson", where["device"]),
        {"cpu": "onnxruntime", "mps": "torch"}.get(where["device"], "cuda-graph-fp16"),
    )
    cluster.remove_node(node)


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
    folder = dataclasses.replace(settings, data=str(tmp_path / "folder"))

    def read(parcel: Parcel, given: TrialSettings) -> tuple[str, bytes, bytes]:
        found = parcel.unpack(given)
        texts = [Path(file).read_bytes() for file in (found.weights, found.data or "")]
        return (ray.get_runtime_context().get_node_id(), *texts)

    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        node = next(n for n in cluster.worker_nodes if n.node_id in _alive())
        parcel, other = Parcel(settings), Parcel(folder)
        for file in (tmp_path / "base.pt", tmp_path / "data.yaml"):
            file.unlink()
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        task = ray.remote(read).options(scheduling_strategy=there)
        assert ray.get(task.remote(parcel, settings)) == (node.node_id, b"weights", b"names: [a]")
        assert other.unpack(folder).data == folder.data  # a folder is on every node
        plan = make_plan(SearchConfig(space="resnet20-cifar", budget="1trials", device="cpu"))
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
        base, candidate = nn.Conv2d(3, 64, 3), nn.Conv2d(3, 8, 3)
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
