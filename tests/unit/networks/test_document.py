"""Model yamls: what is written can be built again, and nothing else can be in one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spnas.architecture import Architecture
from spnas.errors import InputError, ModelFileError, RunError
from spnas.networks import (
    deploy_model,
    get_network,
    list_sites,
    load_model,
    load_pareto,
    model_document,
    network_names,
)
from spnas.runs import RunDirectory, TrialRecord, write_front, write_model_yaml

GHOST = Architecture({"model.3": "ghost:0.5"})


def found(classes: int = 3) -> dict[str, Any]:
    return model_document(get_network("yolov8n"), classes, GHOST)


def write(folder: Path, document: dict[str, Any]) -> Path:
    path = folder / "found.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.mark.parametrize("name", network_names())
def test_documents_hold_plain_values_and_one_scale(name: str) -> None:
    network = get_network(name)
    site = list_sites(network.build(5))[3]
    document = model_document(network, 5, Architecture({site.name: "ghost:0.5"}))
    assert yaml.safe_load(yaml.safe_dump(document)) == document
    assert document["spnas"]["base"] == name
    if network.kind == "detect":
        assert list(document["scales"]) == [name[-1]]
        assert document["nc"] == 5


def test_the_deployed_forms_that_were_measured_are_kept(tmp_path: Path) -> None:
    site, other = "layer2.0.conv2", "layer1.0.conv1"
    architecture = Architecture({site: "spconv:0.25", other: "spconv:0.5"})
    document = model_document(
        get_network("resnet20-cifar"), 4, architecture, forms={site: "gate-first"}
    )
    write_model_yaml(tmp_path / "a.yaml", document)
    model = load_model(tmp_path / "a.yaml").eval()
    deployed = deploy_model(model)
    assert type(deployed.get_submodule(site)).__name__ == "GateFirst"
    assert type(deployed.get_submodule(other)).__name__ == "Split"
    x = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(deployed(x), model(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("forms", "said"),
    [
        ({"layer1.0.conv1": "fast"}, "unknown deployed form 'fast' of spconv:0.25, expected one"),
        ({"layer2.0.conv2": "split"}, "site layer2.0.conv2: .* the site is regular"),
        ({"layer1.0.conv1": 3}, "spnas.forms: expected a mapping of sites to names"),
        (["split"], "spnas.forms: expected a mapping of sites to names"),
    ],
)
def test_a_form_that_there_is_not_is_refused(forms: Any, said: str, tmp_path: Path) -> None:
    architecture = Architecture({"layer1.0.conv1": "spconv:0.25"})
    document = model_document(get_network("resnet20-cifar"), 4, architecture)
    document["spnas"]["forms"] = forms
    path = write(tmp_path, document)
    with pytest.raises(ModelFileError, match=said):
        load_model(path)


@pytest.mark.parametrize(
    ("name", "site"), [("yolov8s", "model.22.cv3.2.1"), ("resnet20-cifar", "layer3.0.conv1")]
)
def test_a_document_builds_what_it_tells(name: str, site: str, tmp_path: Path) -> None:
    architecture = Architecture({site: "spconv:0.25"})
    write_model_yaml(tmp_path / "a.yaml", model_document(get_network(name), 6, architecture))
    torch.manual_seed(0)
    first = load_model(tmp_path / "a.yaml")
    torch.manual_seed(0)
    second = load_model(tmp_path / "a.yaml")
    states = first.state_dict(), second.state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert type(first.get_submodule(site)).__name__ == "SPConv"
    assert list_sites(first) == list_sites(get_network(name).build(6))


def test_class_count_and_weights_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path, found())
    model = load_model(path, num_classes=11)
    assert model.yaml["nc"] == 11
    torch.save(model.state_dict(), tmp_path / "w.pt")
    again = load_model(path, num_classes=11, weights=tmp_path / "w.pt").state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.state_dict().items())
    other = load_model(path, weights=tmp_path / "w.pt").state_dict()
    assert torch.equal(other["model.0.conv.weight"], again["model.0.conv.weight"])


def test_the_whole_document_stays_with_a_yolo(tmp_path: Path) -> None:
    document = found() | {"provenance": {"run": "a-run"}}
    model = load_model(write(tmp_path, document))
    for key in ("spnas", "provenance", "backbone", "head", "schema_version"):
        assert model.yaml[key] == document[key]


def test_the_base_network_is_readable_by_anyone() -> None:
    document = model_document(get_network("yolov8n"), 3, Architecture())
    assert document["backbone"][0][2] == "Conv"


def change(document: dict[str, Any], path: list[Any], value: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    target: Any = document
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (["activation"], "__import__('os').abort()", "activation: unknown key"),
        (["backbone", 1, 2], "nn.Linear", "backbone[1]: module: expected one of C2f, Concat, Conv"),
        (["backbone", 1, 3], ["__import__('os')", 3, 2], "backbone[1]: args: expected"),
        (["backbone", 1, 3], [[1]], "backbone[1]: args: expected"),
        (["backbone", 1, 0], "d", "backbone[1]: from: expected"),
        (["backbone", 1, 1], 10.5, "backbone[1]: repeats: expected"),
        (["backbone", 1], [-1, 1], "backbone[1]: expected [from, repeats, module, args]"),
        (["head"], [], "head: expected a list of layers"),
        (["nc"], "many", "nc: expected a number of classes"),
        (["scales"], {"n": [1, 1, 1], "s": [1, 1, 1]}, "scales: expected exactly one entry"),
        (["schema_version"], 2, "schema_version: expected 1, got 2"),
        (["spnas", "base"], "yolov9n", "spnas.base: unknown network 'yolov9n'"),
        (["spnas", "sites"], ["model.3"], "spnas.sites: expected a mapping"),
        (["spnas", "sites"], {"model.33": "ghost:0.5"}, "spnas.sites: unknown site model.33"),
        (["spnas", "sites"], {"model.3": "ghost:2"}, "spnas.sites: site model.3"),
        (["spnas", "site"], {}, "spnas.site: unknown key"),
        (["base"], "resnet18", "base: 'resnet18' is not spnas.base"),
    ],
)
def test_anything_else_is_refused(path: list[Any], value: Any, said: str, tmp_path: Path) -> None:
    file = write(tmp_path, change(found(), path, value))
    with pytest.raises(ModelFileError) as caught:
        load_model(file)
    assert str(file) in caught.value.problems[0]
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "foreign"), [("yolov8n", "C3k2"), ("yolo11n", "C2f"), ("yolo12n", "C2PSA")]
)
def test_a_family_takes_no_module_of_another(name: str, foreign: str, tmp_path: Path) -> None:
    document = model_document(get_network(name), 3, GHOST)
    file = write(tmp_path, change(document, ["backbone", 2, 2], foreign))
    with pytest.raises(ModelFileError, match=rf"backbone\[2\]: module: .* got '{foreign}'"):
        load_model(file)
    load_model(write(tmp_path, document))


@pytest.mark.parametrize("text", ["", "[1, 2", "a: b", "\x00\x01"])
def test_garbage_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ModelFileError, match=r"a\.yaml"):
        load_model(tmp_path / "a.yaml")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    write_model_yaml(path, found())
    text = path.read_text()
    for share in (0.2, 0.5, 0.9, 0.99):
        path.write_text(text[: int(len(text) * share)])
        with pytest.raises(ModelFileError, match=r"a\.yaml"):
            load_model(path)


def test_an_unknown_network_is_answered_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"unknown network 'yolov9': expected|expected one of"):
        get_network("yolov9")


def test_a_front_is_sorted_by_latency(tmp_path: Path) -> None:
    (tmp_path / "pareto").mkdir()
    for name, latency in (("01-a", 3.0), ("02-b", 1.0), ("03-c", None)):
        metrics = {} if latency is None else {"latency_ms": latency, "map50_95": 0.2}
        document = found() | {"metrics": metrics, "provenance": {"trial": 4}}
        write_model_yaml(tmp_path / "pareto" / f"{name}.yaml", document)
    front = load_pareto(tmp_path)
    assert [model.path.stem for model in front] == ["02-b", "01-a", "03-c"]
    assert front[0].metrics["map50_95"] == 0.2
    assert front[0].provenance == {"trial": 4}
    assert front[0].architecture == GHOST
    assert type(front[0].build().get_submodule("model.3")).__name__ == "Ghost"


def test_a_front_is_what_its_table_names(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "run")
    record = TrialRecord(4, "complete", GHOST, scores={"map50_95": 0.2}, latency_ms=3.0)
    written = write_front(
        run,
        [record],
        lambda _record: found(),
        metric="map50_95",
        score_columns=("map50_95",),
        sites=(),
        conditions={},
    )
    write_model_yaml(run.pareto_dir / "00-old.yaml", found())
    assert [model.path for model in load_pareto(run.path)] == written


def test_a_directory_without_a_front_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="found none"):
        load_pareto(tmp_path)
