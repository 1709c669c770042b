from pathlib import Path

import pytest

from spnas.errors import ModelFileError
from spnas.runs import read_model_yaml, write_model_yaml

CONTENT = {
    "schema_version": 1,
    "base": "resnet18",
    "num_classes": 10,
    "spnas": {"base": "resnet18", "sites": {"layer1.0.conv1": {"op": "ghost", "ratio": 0.5}}},
    "metrics": {"top1": 0.9, "device": "cpu"},
}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_model_yaml(tmp_path / "m.yaml", CONTENT)
    assert read_model_yaml(tmp_path / "m.yaml") == CONTENT


def test_a_file_that_lost_its_end_is_refused_wherever_it_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    write_model_yaml(path, CONTENT)
    text = path.read_text()
    header = text.index("schema_version")
    for cut in range(header, len(text.rstrip())):
        path.write_text(text[:cut])
        with pytest.raises(ModelFileError, match=r"^\S*m\.yaml:\d+: the file is truncated.*$"):
            read_model_yaml(path)


def test_a_file_written_by_hand_needs_no_end_marker(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("schema_version: 1\nbase: resnet18\nspnas: {base: resnet18, sites: {}}\n")
    assert read_model_yaml(path)["base"] == "resnet18"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"m\.yaml:1: expected a model yaml, got NoneType"),
        ("- 1\n", r"m\.yaml:1: expected a model yaml, got list"),
        ("spnas: {}\nschema_version: 2\n", r"m\.yaml:2: schema_version: expected 1, got 2"),
        ("schema_version: true\nspnas: {}\n", r"m\.yaml:1: schema_version: expected 1, got True"),
        ("schema_version: 1\nspnas: []\n", r"m\.yaml:2: spnas: expected a mapping, got \[\]"),
        ("schema_version: 1\n", r"m\.yaml:1: spnas: expected a mapping, got nothing"),
        ("schema_version: 1\nspnas: {}\nmetrics: 3\n", r"m\.yaml:3: metrics: expected a mapping"),
        ("schema_version: 1\nbase: yolov8n\nsites: []\n", "this is a search space"),
        ("a: 1\nb: [1,\n", r"m\.yaml:3: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", r"m\.yaml:3: a: given twice"),
        ("a: !!python/object/apply:os.system [ls]\n", r"m\.yaml:1: not valid YAML"),
        ("a: 2026-13-45\n", "not valid YAML"),
        ("a: \x00\n", "not valid YAML"),
    ],
)
def test_what_is_no_model_is_told_of(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ModelFileError, match=told):
        read_model_yaml(path)


def test_a_missing_file_and_a_binary_file_are_told_of(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="no such file"):
        read_model_yaml(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ModelFileError, match="not UTF-8"):
        read_model_yaml(tmp_path / "m.yaml")
