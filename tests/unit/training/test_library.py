"""The library of prepared operators, on a real base network of two epochs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.networks import apply_architecture
from spnas.networks.sites import find_slots
from spnas.tasks import Task
from spnas.training import Library, build_library, fit_operators
from spnas.training.fitting import output_error, record_inputs, start_operator

GHOST, SPCONV = Choice.parse("ghost:0.5"), Choice.parse("spconv:0.25")
CHOICES = {
    "layer1.0.conv1": (REGULAR, GHOST, SPCONV),
    "layer2.0.conv1": (GHOST, SPCONV),
    "layer3.2.conv2": (REGULAR, GHOST),
}
BOTH = Architecture({"layer1.0.conv1": SPCONV, "layer3.2.conv2": GHOST})


@pytest.fixture(scope="module")
def fitted(base: nn.Module, digits: Task) -> Library:
    return _built(base, digits, passes=0)


@pytest.fixture(scope="module")
def trained(base: nn.Module, digits: Task) -> Library:
    return _built(base, digits, passes=2)


def _built(base: nn.Module, digits: Task, passes: int) -> Library:
    library = build_library(base, CHOICES, digits, seed=0, passes=passes)
    assert library is not None
    return library


def test_holds_every_choice_but_the_regular_one(trained: Library) -> None:
    pairs = [(s, c) for s, offered in CHOICES.items() for c in offered if c != REGULAR]
    assert set(trained.states) == {f"{site}|{choice}" for site, choice in pairs}


def test_fitting_lowers_every_error_and_training_more_of_it(
    base: nn.Module, digits: Task, fitted: Library, trained: Library
) -> None:
    """On images that nothing was fitted on in that form, and that no choice was made by."""
    inherited, least_squares, at_last = (
        _errors(base, digits, library) for library in (None, fitted, trained)
    )
    for key, error in inherited.items():
        assert least_squares[key] < error, key
        assert at_last[key] < 1.02 * least_squares[key], key
    assert sum(at_last.values()) < sum(least_squares.values())


@torch.no_grad()
def _errors(base: nn.Module, digits: Task, library: Library | None) -> dict[str, float]:
    slots = [slot for slot in find_slots(base.eval()) if slot.site.name in CHOICES]
    inputs = record_inputs(base, slots, digits.calibration_images(96, seed=5))
    errors = {}
    for slot in slots:
        for choice in CHOICES[slot.site.name]:
            if choice != REGULAR:
                operator = start_operator(slot, choice)
                operator.inherit(slot.conv, slot.bn)
                key = f"{slot.site.name}|{choice}"
                if library is not None:
                    operator.load_state_dict(library.states[key])
                errors[key] = float(output_error(operator, slot, inputs[slot.site.name]))
    return errors


def test_a_file_gives_an_assembled_model_the_same_weights(
    base: nn.Module, trained: Library, tmp_path: Path
) -> None:
    trained.save(tmp_path / "library.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["library.pt"]
    model = apply_architecture(copy.deepcopy(base), BOTH)
    Library.load(tmp_path / "library.pt").load_into(model, BOTH)
    for site, choice in BOTH.items():
        _assert_equal(model.get_submodule(site), trained.states[f"{site}|{choice}"])


def test_fitting_a_model_is_fitting_its_operators(
    base: nn.Module, digits: Task, fitted: Library
) -> None:
    model = apply_architecture(copy.deepcopy(base), BOTH)
    fit_operators(model, base, BOTH, digits)
    for site, choice in BOTH.items():
        _assert_equal(model.get_submodule(site), fitted.states[f"{site}|{choice}"])


def _assert_equal(operator: nn.Module, state: dict[str, Tensor]) -> None:
    for name, value in operator.state_dict().items():
        torch.testing.assert_close(value, state[name], msg=name)


def test_what_is_not_there_keeps_its_weights(base: nn.Module) -> None:
    model = apply_architecture(copy.deepcopy(base), BOTH)
    before = copy.deepcopy(model.state_dict())
    Library({}).load_into(model, BOTH)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_one_that_would_take_too_long_is_given_up_and_the_base_left_as_it_is(
    base: nn.Module, digits: Task
) -> None:
    state, random = copy.deepcopy(base.state_dict()), torch.get_rng_state()
    assert build_library(base, CHOICES, digits, seed=0, passes=1000, limit_s=3.0) is None
    assert build_library(base, CHOICES, digits, seed=0, passes=0, limit_s=0.0) is None
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(state[key], value) for key, value in base.state_dict().items())
    assert not any(module._forward_hooks for module in base.modules())
