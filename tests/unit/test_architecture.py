"""Choices and architectures: text and yaml forms, equality, identity and errors."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from spnas.architecture import REGULAR, Architecture, Choice, ConvSite
from spnas.errors import ArchitectureError

names = st.sampled_from(["spconv", "ghost", "x", "dw-conv", "op_2"])
keys = st.sampled_from(["ratio", "alpha", "kernel"])
numbers = st.one_of(st.integers(-1000, 1000), st.floats(-1e6, 1e6), st.just(1 / 3))
choices = st.builds(
    lambda op, params: Choice.of(op, **params), names, st.dictionaries(keys, numbers, max_size=2)
)
sites = st.sampled_from(["model.0", "model.3.conv", "layer1.0.conv2", "a", "b.cv1.0"])
architectures = st.builds(Architecture, st.dictionaries(sites, choices, max_size=5))

lean = settings(max_examples=30, derandomize=True, deadline=None)


class TestChoice:
    @lean
    @given(choices)
    def test_text_and_yaml_forms_read_back_equal(self, choice: Choice) -> None:
        assert Choice.parse(str(choice)) == choice
        assert Choice.from_yaml(yaml.safe_load(yaml.safe_dump(choice.to_yaml()))) == choice
        assert hash(Choice.parse(str(choice))) == hash(choice)

    def test_forms(self) -> None:
        assert str(Choice.of("spconv", ratio=0.125)) == "spconv:0.125"
        assert Choice.of("spconv", ratio=0.125).to_yaml() == {"op": "spconv", "ratio": 0.125}
        assert (str(REGULAR), REGULAR.to_yaml(), REGULAR.kwargs) == ("regular", "regular", {})
        assert str(Choice.of("x", ratio=0.5, groups=4)) == "x:groups=4:0.5"

    def test_order_of_parameters_and_kind_of_number_do_not_matter(self) -> None:
        assert Choice.of("x", a=1, b=2.0) == Choice.of("x", b=2, a=1.0)

    @pytest.mark.parametrize("text", ["", "Spconv", "spconv:", "spconv:half", "a b", ":0.5", "0.5"])
    def test_text_that_is_no_choice(self, text: str) -> None:
        with pytest.raises(ArchitectureError, match="expected"):
            Choice.parse(text)

    @pytest.mark.parametrize("text", ["spconv:nan", "spconv:inf"])
    def test_parameters_are_finite(self, text: str) -> None:
        with pytest.raises(ArchitectureError, match="spconv: expected a number for ratio"):
            Choice.parse(text)

    def test_a_parameter_is_given_once(self) -> None:
        with pytest.raises(ArchitectureError, match="gives ratio twice"):
            Choice.parse("spconv:0.5:0.25")

    @pytest.mark.parametrize(
        "value",
        [
            None,
            3,
            ["spconv"],
            {"ratio": 0.5},
            {"op": 1},
            {"op": "x", 2: 3},
            {"op": "x", "ratio": True},
        ],
    )
    def test_yaml_that_is_no_choice(self, value: Any) -> None:
        with pytest.raises(ArchitectureError, match="expected a"):
            Choice.from_yaml(value)


class TestArchitecture:
    @lean
    @given(architectures)
    def test_yaml_form_reads_back_equal(self, architecture: Architecture) -> None:
        again = Architecture.from_yaml(yaml.safe_load(yaml.safe_dump(architecture.to_yaml())))
        assert again == Architecture.from_text(architecture.text) == architecture
        assert (again.id, hash(again)) == (architecture.id, hash(architecture))
        assert pickle.loads(pickle.dumps(architecture)) == architecture

    @lean
    @given(
        st.dictionaries(sites, choices, min_size=1, max_size=5), st.randoms(use_true_random=False)
    )
    def test_order_and_regular_entries_do_not_matter(self, pairs: Any, rng: Any) -> None:
        shuffled = list(pairs.items())
        rng.shuffle(shuffled)
        named = {**dict(shuffled), "zz.unnamed": REGULAR}
        assert Architecture(named) == Architecture(pairs)
        assert Architecture(named).text == Architecture(pairs).text

    def test_different_choices_differ(self) -> None:
        texts = ["spconv:0.5", "spconv:0.25", "ghost:0.5", "regular"]
        found = {Architecture({site: text}) for site in ("a", "b") for text in texts}
        assert len(found) == len({architecture.id for architecture in found}) == 7

    def test_id_is_the_same_in_every_process(self) -> None:
        choice = {"model.5.conv": "spconv:0.25", "model.3.conv": "ghost:0.5", "model.1": "regular"}
        assert Architecture(choice).text == "model.3.conv=ghost:0.5 model.5.conv=spconv:0.25"
        assert (Architecture(choice).id, Architecture().id) == ("54e1634d", "e3b0c442")
        code = f"from spnas.architecture import Architecture; print(Architecture({choice!r}).id)"
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == "54e1634d"

    def test_reads_like_a_mapping_where_any_unnamed_site_is_regular(self) -> None:
        architecture = Architecture({"b": "ghost:0.5", "a": "spconv:0.5", "c": "regular"})
        assert list(architecture) == ["a", "b"]
        assert architecture["c"] == architecture["never"] == REGULAR
        assert "a" in architecture
        assert "c" not in architecture
        assert not architecture.is_base
        assert Architecture({"c": REGULAR}).is_base

    def test_yaml_errors_are_told_together_with_their_sites(self) -> None:
        with pytest.raises(ArchitectureError) as caught:
            Architecture.from_yaml({"a": "spconv:x", "b": 3, "c": "regular"})
        assert [problem.split(":")[0] for problem in caught.value.problems] == ["site a", "site b"]
        with pytest.raises(ArchitectureError, match="expected a mapping of sites"):
            Architecture.from_yaml(["a"])
        assert Architecture.from_yaml(None).is_base

    @pytest.mark.parametrize("text", ["a", "a=", "=spconv:0.5", "a=spconv:0.5 b"])
    def test_text_that_is_no_architecture(self, text: str) -> None:
        with pytest.raises(ArchitectureError, match="expected 'site=choice'"):
            Architecture.from_text(text)


def test_a_site_tells_itself() -> None:
    site = ConvSite("model.3.conv", 32, 64, 3, 2)
    assert str(site) == "site model.3.conv (32 -> 64 channels, 3x3, stride 2)"


def test_architectures_need_no_torch() -> None:
    code = "import sys, spnas.architecture; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
