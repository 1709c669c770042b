"""Sizes, sampling and checks, against brute force on small spaces and on every shipped one."""

import itertools
import math
import random
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.errors import ArchitectureError, SpaceError
from spnas.networks import list_sites, network_names
from spnas.operators import refusal
from spnas.spaces import SearchSpace, list_spaces, load_space

SITES = {
    "yolov8n": 39,
    "yolov8s": 39,
    "yolov8m": 59,
    "yolov8l": 79,
    "yolov8x": 79,
    "yolo11n": 35,
    "yolo11s": 35,
    "yolo11m": 45,
    "yolo11l": 77,
    "yolo11x": 77,
    "yolo12n": 33,
    "yolo12s": 33,
    "yolo12m": 37,
    "yolo12l": 61,
    "yolo12x": 61,
    "resnet18": 17,
    "resnet34": 33,
    "resnet50": 17,
    "resnet101": 34,
    "wide_resnet50_2": 17,
    "vgg16_bn": 13,
    "efficientnet_v2_s": 11,
    "resnet20-cifar": 19,
    "resnet56-cifar": 55,
    "vgg16-cifar": 13,
}
# One site of two choices, one of three, a tied pair of two, the rest regular: 12 architectures.
SMALL = """\
schema_version: 1
base: resnet20-cifar
sites:
  - {match: "*", choices: [regular]}
  - {match: layer1.0.conv1, choices: [regular, "ghost:0.5"]}
  - {match: layer1.0.conv2, choices: ["spconv:0.5", regular, "spconv:0.25"]}
  - {match: layer2.0.conv1, choices: ["ghost:0.5", regular, "ghost:0.25"]}
  - {match: layer3.0.conv1, choices: [regular, "spconv:0.125", "ghost:0.5"]}
tie: ["layer[23].0.conv1"]
"""


def load_text(folder: Path, text: str) -> SearchSpace:
    (folder / "small.yaml").write_text(text)
    return load_space(folder / "small.yaml")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    return load_text(tmp_path_factory.mktemp("space"), SMALL)


@cache
def shipped(name: str) -> SearchSpace:
    return load_space(name)


def test_there_is_a_space_for_every_network() -> None:
    assert list_spaces() == [name for name in network_names() if name in SITES]
    assert set(list_spaces()) == set(SITES)


@pytest.mark.parametrize("name", SITES)
def test_a_shipped_space_offers_what_the_sites_take_and_a_regular_stem(name: str) -> None:
    space = shipped(name)
    offers = [len(given) for given in space.choices.values()]
    assert (space.name, space.base, space.network.name) == (name, name, name)
    assert [site.name for site in space.sites] == list(space.choices)
    assert len(space.sites) == SITES[name]
    assert offers == [1] + [6] * (SITES[name] - 1)
    assert space.choices[space.sites[0].name] == (REGULAR,)
    assert space.log10_size == pytest.approx((SITES[name] - 1) * math.log10(6))
    space.check(Architecture())
    for site in space.sites:
        assert all(refusal(choice, site) is None for choice in space.choices[site.name])


def test_loading_leaves_torchs_random_numbers_alone(tmp_path: Path) -> None:
    from spnas.spaces import load

    load._sites.cache_clear()
    state = torch.random.get_rng_state()
    load_text(tmp_path, SMALL)
    assert torch.equal(torch.random.get_rng_state(), state)


def every_architecture(space: SearchSpace) -> set[Architecture]:
    """All combinations of the sites' choices that keep the ties, found without the space's own methods."""
    names = [name for name, given in space.choices.items() if len(given) > 1]
    made = itertools.product(*(space.choices[name] for name in names))
    candidates = [Architecture(dict(zip(names, choices, strict=True))) for choices in made]
    return {a for a in candidates if all(len({a[n] for n in group}) == 1 for group in space.ties)}


def test_size_variables_and_samples_agree_with_brute_force(small: SearchSpace) -> None:
    every = every_architecture(small)
    assert len(every) == 12
    assert 10**small.log10_size == pytest.approx(12)
    free = {name: len(given) for name, given in small.variables.items() if len(given) > 1}
    assert free == {"layer1.0.conv1": 2, "layer1.0.conv2": 3, "layer2.0.conv1": 2}
    rng = random.Random(0)
    drawn = [small.sample(rng) for _ in range(1200)]
    assert set(drawn) == every
    # 100 expected of each; five standard deviations of a binomial are 48.
    assert all(52 < drawn.count(architecture) < 148 for architecture in every)


def test_check_accepts_exactly_the_architectures_of_the_space(small: SearchSpace) -> None:
    every = every_architecture(small)
    texts = ["regular", "ghost:0.5", "ghost:0.25", "spconv:0.5"]
    names = ["layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"]
    for choices in itertools.product(texts, repeat=3):
        architecture = Architecture(dict(zip(names, choices, strict=True)))
        if architecture in every:
            small.check(architecture)
        else:
            with pytest.raises(ArchitectureError):
                small.check(architecture)


def test_check_tells_every_problem(small: SearchSpace) -> None:
    wrong = {"conv1": "ghost:0.5", "conv9": "ghost:0.5", "layer2.0.conv1": "ghost:0.5"}
    with pytest.raises(ArchitectureError) as caught:
        small.check(Architecture(wrong))
    assert caught.value.problems == [
        "site conv9: unknown in base network resnet20-cifar",
        "site conv1: ghost:0.5 is not offered, expected one of: regular",
        "site layer3.0.conv1: regular, but it is tied to layer2.0.conv1, which has ghost:0.5",
    ]


def test_tied_sites_are_offered_what_all_of_them_can_take(small: SearchSpace) -> None:
    common = (Choice.parse("ghost:0.5"), REGULAR)
    assert small.choices["layer2.0.conv1"] == small.choices["layer3.0.conv1"] == common
    assert small.ties == [("layer2.0.conv1", "layer3.0.conv1")]


def test_uniform_takes_the_choice_where_it_is_offered(small: SearchSpace) -> None:
    ghost = small.uniform(Choice.parse("ghost:0.5"))
    assert set(ghost) == {"layer1.0.conv1", "layer2.0.conv1", "layer3.0.conv1"}
    assert small.uniform(REGULAR).is_base
    for choice in small.uniform_choices():
        small.check(small.uniform(choice))
    with pytest.raises(ArchitectureError, match=r"no site of space small offers spconv:0\.125"):
        small.uniform(Choice.parse("spconv:0.125"))


def test_a_space_may_lack_the_base_network(tmp_path: Path) -> None:
    text = SMALL.replace('[regular, "ghost:0.5"]', "['ghost:0.25', 'ghost:0.5']")
    space = load_text(tmp_path, text)
    with pytest.raises(ArchitectureError, match=r"site layer1\.0\.conv1: regular is not offered"):
        space.check(Architecture())
    for choice in space.uniform_choices():
        space.check(space.uniform(choice))


def test_expand_tells_of_missing_unknown_and_wrong_variables(small: SearchSpace) -> None:
    values = {name: given[0] for name, given in small.variables.items()}
    del values["conv1"]
    values |= {"layer3.0.conv1": REGULAR, "layer1.0.conv1": Choice.parse("spconv:0.5")}
    with pytest.raises(ArchitectureError) as caught:
        small.expand(values)
    assert [problem.split(" is")[0] for problem in caught.value.problems] == [
        "variable conv1: missing",
        "site layer1.0.conv1: spconv:0.5",
        "variable layer3.0.conv1: unknown in space small",
    ]


@given(st.integers(0, 2**32))
def test_samples_are_legal_and_come_back_from_their_text(seed: int) -> None:
    space = shipped("yolov8n")
    architecture = space.sample(random.Random(seed))
    space.check(architecture)
    assert Architecture.from_text(architecture.text) == architecture
    values = {name: Choice.parse(str(architecture[name])) for name in space.variables}
    assert space.expand(values) == architecture


def test_a_ratio_of_many_digits_comes_back_from_a_table(tmp_path: Path) -> None:
    text = SMALL.replace('"ghost:0.5"]}', "{op: ghost, ratio: 0.33333333333333331}]}")
    space = load_text(tmp_path, text)
    (third,) = [choice for choice in space.choices["layer1.0.conv1"] if choice != REGULAR]
    assert Choice.parse(str(third)) == third


def _heads(tmp_path: Path, rule: str, tie: str = "[]") -> SearchSpace:
    file = tmp_path / "heads.yaml"
    file.write_text(
        'schema_version: 1\nbase: yolov8n\nsites:\n  - {match: "*", choices: [regular]}\n'
        f'  - {{match: "model.22.cv3.*", choices: {rule}}}\ntie: {tie}\n'
    )
    return load_space(file)


def test_choices_that_the_datas_number_of_classes_does_not_allow_are_left_out(
    tmp_path: Path,
) -> None:
    """The class branches of YOLOv8n have max(64, classes) channels: 91 cannot be halved, as hetconv:0.5 wants."""
    space = _heads(tmp_path, '[regular, "hetconv:0.5", "spconv:0.5"]')
    offered = space.choices["model.22.cv3.0.1"]
    assert [str(choice) for choice in offered] == ["regular", "hetconv:0.5", "spconv:0.5"]
    for classes in (20, 91):
        own = space.for_classes(classes)
        sites = {site.name: site for site in list_sites(space.network.build(classes))}
        assert {site.name: site for site in own.sites} == sites
        for name, given_there in own.choices.items():
            assert all(refusal(choice, sites[name]) is None for choice in given_there)
        halved = Choice.parse("hetconv:0.5") in own.choices["model.22.cv3.0.1"]
        assert halved == (classes == 20)
        assert own.variables["model.22.cv3.0.1"] == own.choices["model.22.cv3.0.1"]


def test_a_site_without_any_choice_at_the_datas_number_of_classes_is_told(tmp_path: Path) -> None:
    space = _heads(tmp_path, '["hetconv:0.5"]')
    assert space.for_classes(20).choices == space.choices
    with pytest.raises(SpaceError, match=r"with 91 classes site model\.22\.cv3\..* hetconv:0\.5:"):
        space.for_classes(91)


def test_a_choice_that_one_of_tied_sites_cannot_take_is_none_of_the_others(tmp_path: Path) -> None:
    tie = '["model.[24]*.*1"]'
    file = tmp_path / "tied.yaml"
    file.write_text(
        "schema_version: 1\nbase: yolov8n\nsites:\n"
        f'  - {{match: "*", choices: [regular, "hetconv:0.5"]}}\ntie: {tie}\n'
    )
    tied = load_space(file).for_classes(91)
    assert [str(choice) for choice in tied.choices["model.2.m.0.cv1"]] == ["regular"]
    assert len(tied.choices["model.6.m.0.cv1"]) == 2
