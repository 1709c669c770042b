"""Every mistake of a file is told, with its line and key, all at once."""

import re
from pathlib import Path

import pytest

from spnas.errors import SpaceError
from spnas.spaces import load_space

GOOD = """\
schema_version: 1
base: resnet20-cifar
sites:
  - match: "*"
    choices: [regular, {op: spconv, ratio: [0.5, 0.25]}]
  - match: conv1
    choices: [regular]
tie: []
"""


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(SpaceError) as caught:
        load_space(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


# What is replaced in the good file by what, and the one problem that is told of it.
CASES = {
    "syntax": ("base: resnet20-cifar", "base: [resnet20", "3: not valid YAML"),
    "tab": ("  - match: conv1", "\t- match: conv1", "6: not valid YAML: .*'\\\\t'"),
    "twice": ("tie: []", "base: resnet18", "8: base: given twice"),
    "version": ("version: 1", "version: 2", "1: schema_version: expected 1, got 2"),
    "version type": ("version: 1", "version: true", "1: schema_version: expected 1, got True"),
    "no version": ("schema_version: 1\n", "", "1: schema_version: missing, expected 1"),
    "unknown key": (
        "tie:",
        "ties:",
        "8: ties: unknown key, allowed: schema_version, base, sites, tie",
    ),
    "unknown rule key": (
        "    choices: [regular]\n",
        "    choices: [regular]\n    ratio: 0.5\n",
        r"8: sites\[1\]\.ratio: unknown key, allowed: match, choices",
    ),
    "base": ("resnet20-cifar", "resnet21", "2: base: unknown network 'resnet21', .*resnet20-cifar"),
    "base type": ("resnet20-cifar", "20", "2: base: expected the name of a base network .*got 20"),
    "sites type": ("tie: []", "tie: conv1", "8: tie: expected a list of patterns .*'conv1'"),
    "rule type": (
        "- match: conv1\n    choices: [regular]",
        "- conv1",
        r"6: sites\[1\]: expected a rule",
    ),
    "key type": ("tie: []", "1: x", "8: 1: expected a name as key, got 1"),
    "rule key type": (
        "- match: conv1\n",
        "- match: conv1\n    1: 2\n",
        r"7: sites\[1\]\.1: .* got 1",
    ),
    "match type": ("match: conv1", "match: 1", r"6: sites\[1\]\.match: expected a pattern .*got 1"),
    "no match": ("- match: conv1\n    ", "- ", r"6: sites\[1\]\.match: missing"),
    "no choices": (
        "choices: [regular]\n",
        "choices: []\n",
        r"7: sites\[1\]\.choices: expected a list",
    ),
    "operator": (
        "op: spconv",
        "op: spconf",
        r"5: sites\[0\]\.choices\[1\]: unknown operator 'spconf', .*spconv",
    ),
    "parameter": (
        "ratio: [",
        "share: [",
        r"5: .*choices\[1\]: spconv: unknown parameter share",
    ),
    "missing parameter": (
        "{op: spconv, ratio: [0.5, 0.25]}",
        "spconv",
        r"5: .*\[1\]: .*ratio is missing",
    ),
    "choice type": (
        "[regular, {",
        "[7, {",
        r"5: sites\[0\]\.choices\[0\]: expected a choice such as",
    ),
    "no number": (
        "0.25]",
        "1/4]",
        r"5: .*\.ratio\[1\]: spconv: expected a number for ratio, got '1/4'",
    ),
    "empty list": (
        "[0.5, 0.25]",
        "[]",
        r"5: sites\[0\]\.choices\[1\]: expected a number or a list",
    ),
    "choice twice": ("0.25]", "0.50]", r"5: .*\.ratio\[1\]: spconv:0\.5 is given twice"),
    "ratio": (
        "0.25]",
        "1.25]",
        r"5: .*\.ratio\[1\]: no site .* take spconv:1\.25; site .*between 0 and 1",
    ),
    "no site takes it": (
        "[regular]",
        "[regular, 'spconv:0.25']",
        r"7: sites\[1\]\.choices\[1\]: no site .* spconv:0\.25; site conv1 \(3 -> 16 .*leaves a part empty",
    ),
    "pattern": (
        "match: conv1",
        "match: layer1.0.conv3",
        r"6: .*matches no site, .*layer1\.0\.conv1",
    ),
    "uncovered": (
        '"*"',
        '"layer[12].*"',
        r"3: sites: no rule matches 6 of 19 sites: layer3\.0\.conv1, .*",
    ),
    "site without": (
        "regular, {op: spconv, ratio: [0.5, 0.25]}]\n  - match: conv1\n    choices: [regular]",
        "'spconv:0.25']",
        r"5: sites\[0\]\.choices: site conv1 .* is left without a choice; spconv:0\.25: ",
    ),
    "tie type": ("tie: []", "tie: [3]", r"8: tie\[0\]: expected a pattern of site names .*got 3"),
    "tie pattern": ("tie: []", "tie: [layer9.*]", r"8: tie\[0\]: 'layer9\.\*' matches no site"),
    "tie of one": ("tie: []", "tie: [conv1]", r"8: tie\[0\]: 'conv1' ties nothing"),
    "tied twice": (
        "tie: []",
        "tie:\n  - layer1.*\n  - 'layer1.0.*'",
        r"10: tie\[1\]: site layer1\.0\.conv1 is tied by 'layer1\.\*' already",
    ),
    "tie without common": (
        "  - match: conv1\n    choices: [regular]\ntie: []",
        "  - match: layer1.*\n    choices: ['ghost:0.5']\ntie: ['layer[12].0.conv1']",
        r"8: tie\[0\]: .*no choice in common; layer1\.0\.conv1: ghost:0\.5; layer2\.0\.conv1: regular,",
    ),
    "model yaml": ("sites:", "spnas:", "3: spnas: this is a model yaml, expected a search space"),
}


def test_the_good_file_is_good(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)
    assert load_space(tmp_path / "s.yaml").name == "s"


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_told_once_with_its_line_and_key(tmp_path: Path, case: str) -> None:
    old, new, told = CASES[case]
    assert old in GOOD
    found = problems(tmp_path, GOOD.replace(old, new, 1))
    assert len(found) == 1, found
    assert re.match(told, found[0]), found[0]


def test_all_mistakes_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    text = (
        GOOD.replace("version: 1", "version: 3")
        .replace("0.25]", "2]")
        .replace("regular]\n", "none]\n")
    )
    text = text.replace("tie: []", "tie: [nothing]\ncolour: red")
    found = problems(tmp_path, text.replace("conv1", "conv9"))
    lines = [int(problem.split(":")[0]) for problem in found]
    assert lines == [1, 5, 6, 7, 8, 9], found


@pytest.mark.parametrize("text", ["", "- 1\n", "yolov8n\n"])
def test_what_is_no_mapping_is_told_of(tmp_path: Path, text: str) -> None:
    (found,) = problems(tmp_path, text)
    assert found.startswith("1: expected a mapping with schema_version, base, sites, tie, got ")


def test_aliases_are_read_as_yaml_means_them(tmp_path: Path) -> None:
    text = GOOD.replace("choices: [regular, ", "choices: &all [regular, ")
    text = text.replace("tie: []", "  - match: layer3.*\n    choices: *all\ntie: []")
    (tmp_path / "s.yaml").write_text(text)
    space = load_space(tmp_path / "s.yaml")
    assert space.choices["layer3.0.conv1"] == space.choices["layer1.0.conv1"]


def test_aliases_that_unfold_without_end_are_no_danger(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 40)
    )
    for text in (GOOD + bomb, bomb + "base: *a39\n"):
        assert problems(tmp_path, text)[0].endswith("not valid YAML: more than 100000 values")
    assert problems(tmp_path, "a: &a [*a]\n")[0].endswith("an alias holds itself")


def test_an_unknown_space_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(
        SpaceError, match=r"unknown search space 'yolov9'.*yolov8n, .*resnet56-cifar"
    ):
        load_space("yolov9")
    with pytest.raises(SpaceError, match=r"nothing\.yaml: no such file"):
        load_space(tmp_path / "nothing.yaml")
    with pytest.raises(SpaceError, match="no such file"):
        load_space("folder/nothing")
