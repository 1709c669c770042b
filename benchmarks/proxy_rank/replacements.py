"""What each choice at each site really adds to the loss by itself, before any training: many forwards, no estimate."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.networks import apply_architecture
from spnas.tasks import Task
from spnas.training import Library, Scores

_BATCH, _BATCHES = 32, 2


def added_losses(
    base: nn.Module, choices: Mapping[str, Sequence[Choice]], task: Task, library: Library
) -> Scores:
    """Measure minus the loss that each choice adds on the same training images, BatchNorms on the batch's statistics.

    Args:
        base: The trained base network; left as it is.
        choices: The choices of each site, by the site's name.
        task: Gives training images and the loss.
        library: What the operators start from.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        batches = [
            batch for batch, _ in zip(task.train_batches(_BATCH, 0), range(_BATCHES), strict=False)
        ]

    @torch.no_grad()
    def loss(network: nn.Module) -> float:
        task.attach(network)
        network.train()
        return statistics.mean(float(task.loss(network, batch)) for batch in batches)

    def added(site: str, choice: Choice) -> float:
        if choice == REGULAR:
            return 0.0
        architecture = Architecture({site: choice})
        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = apply_architecture(copy.deepcopy(base), architecture)
        library.load_into(network, architecture)
        return before - loss(network)

    before = loss(copy.deepcopy(base))
    return {
        site: {choice: added(site, choice) for choice in offered}
        for site, offered in choices.items()
    }
