"""Scores of choices, against the loss that each really adds, one replacement at a time."""

from __future__ import annotations

import copy

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.networks import apply_architecture, list_sites
from spnas.operators import refusal
from spnas.tasks import Task
from spnas.training import Scores, build_library, choice_scores

CHOICES = tuple(Choice.parse(text) for text in ("regular", "ghost:0.5", "spconv:0.25", "repconv"))


@pytest.fixture(scope="module")
def choices(base: nn.Module) -> dict[str, tuple[Choice, ...]]:
    return {
        site.name: tuple(choice for choice in CHOICES if refusal(choice, site) is None)
        for site in list_sites(base)
    }


@pytest.fixture(scope="module")
def scores(base: nn.Module, digits: Task, choices: dict[str, tuple[Choice, ...]]) -> Scores:
    return choice_scores(base, choices, digits, imgsz=32, seed=0)


def test_what_equals_the_convolution_does_no_harm(scores: Scores) -> None:
    for of in scores.values():
        assert of.get(REGULAR, 0.0) == 0.0
        if Choice.parse("repconv") in of:  # inherits exactly
            assert abs(of[Choice.parse("repconv")]) < 1e-3 * max(abs(v) for v in of.values())


def test_a_score_is_the_root_mean_square_of_what_images_losses_change(
    base: nn.Module, digits: Task, scores: Scores
) -> None:
    site, choice = "layer2.0.conv1", Choice.parse("ghost:0.5")
    batch = next(iter(digits.train_batches(64, 0)))
    plain = apply_architecture(copy.deepcopy(base), Architecture()).train()
    read: list[torch.Tensor] = []
    wrote: list[torch.Tensor] = []
    block = plain.get_submodule(site.rpartition(".")[0])
    block.conv1.register_forward_hook(lambda _, inputs, output: read.append(inputs[0].detach()))

    def keep(_: nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        output.retain_grad()
        wrote.append(output)
        return output.clone()

    block.bn1.register_forward_hook(keep)
    digits.loss(plain, batch).backward()
    torch.manual_seed(0)
    changed = apply_architecture(copy.deepcopy(base), Architecture({site: choice})).train()
    with torch.no_grad():  # the activation comes after the operator
        change = changed.get_submodule(site)(read[0]) - wrote[0]
    assert wrote[0].grad is not None
    images = len(change) * (wrote[0].grad * change).flatten(1).sum(1)
    assert -scores[site][choice] == pytest.approx(float(images.square().mean().sqrt()), rel=0.05)


def test_scores_rank_the_loss_that_choices_add(
    base: nn.Module, digits: Task, scores: Scores
) -> None:
    batches = [batch for batch, _ in zip(digits.train_batches(64, 3), range(4), strict=False)]

    @torch.no_grad()
    def loss(network: nn.Module) -> float:
        network.train()
        return sum(float(digits.loss(network, batch)) for batch in batches) / len(batches)

    before = loss(copy.deepcopy(base))
    foretold, added = [], []
    for site, of in scores.items():
        for choice, score in of.items():
            if choice.op in ("ghost", "spconv"):
                changed = apply_architecture(copy.deepcopy(base), Architecture({site: choice}))
                foretold.append(-score)
                added.append(loss(changed) - before)
    assert len(added) > 30
    # Of a network of two epochs, by 64 images: chance alone gives 0.3 once in 50 times.
    assert spearmanr(foretold, added).statistic > 0.3


def test_the_base_is_left_as_it_is_and_scores_repeat(
    base: nn.Module, digits: Task, choices: dict[str, tuple[Choice, ...]], scores: Scores
) -> None:
    state = copy.deepcopy(base.state_dict())
    random = torch.get_rng_state()
    assert choice_scores(base, choices, digits, imgsz=32, seed=0) == scores
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(state[key], value) for key, value in base.state_dict().items())


def test_operators_of_a_library_do_less_harm_than_inherited_ones(
    base: nn.Module, digits: Task, choices: dict[str, tuple[Choice, ...]], scores: Scores
) -> None:
    library = build_library(base, choices, digits, seed=0, passes=0)
    fitted = choice_scores(base, choices, digits, imgsz=32, seed=0, library=library)
    of = {
        op: [
            (fitted[site][choice], scores[site][choice])
            for site, offered in choices.items()
            for choice in offered
            if choice.op == op
        ]
        for op in ("ghost", "spconv")
    }
    for pairs in of.values():
        assert sum(new for new, _ in pairs) > sum(old for _, old in pairs)
