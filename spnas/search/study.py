"""The persistent Optuna study of a run, asked for architectures."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import TrialState

from spnas.architecture import Architecture, Choice
from spnas.errors import SpaceExhaustedError
from spnas.latency import LatencyTable
from spnas.runs import TrialRecord
from spnas.runs.records import Origin
from spnas.sampler import Floats, LatencyAwareSampler
from spnas.search.config import SamplerName
from spnas.search.kept_trials import KeptTrials, Proposal
from spnas.search.prediction import LatencyModel
from spnas.search.samplers import make_sampler
from spnas.spaces import SearchSpace
from spnas.training import Scores

_ASKS_BEFORE_DRAWING = 20
_DRAWS = 1000


class SearchStudy(KeptTrials):
    """Asks for architectures, never for one that was evaluated or is under way.

    Args:
        path: The study's file; made where it does not exist.
        space: The search space; each of its variables is one flat categorical parameter.
        metric: Column of the accuracy to maximize; latency is minimized.
        seed: Of the sampler.
        sampler: What proposes architectures.

    Attributes:
        latency_model: Foretells latency. The sampler's proposals, and seeds, that are foretold to be slower than
            `limits` allow are passed over.
    """

    def __init__(
        self,
        path: Path,
        space: SearchSpace,
        metric: str,
        seed: int,
        sampler: SamplerName = "latency-aware",
    ) -> None:
        super().__init__(path, metric)
        self._space = space
        choices = {name: [str(c) for c in given] for name, given in space.variables.items()}
        self._distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(given) for name, given in choices.items()
        }
        # A resumed search must not draw what its first sitting drew: the trials it has salt the seed.
        salted = seed + len(self._study.get_trials(deepcopy=False))
        self._rng = random.Random(salted)
        self.latency_model = LatencyModel(space)
        self._make_sampler = partial(make_sampler, sampler, salted, choices, self._foretell_ratios)
        self._sampler = self._study.sampler = self._make_sampler()

    def inform(self, table: LatencyTable | None, scores: Scores | None) -> None:
        """Take what is known before any trial: latencies of choices, and the sampler's prior."""
        self.latency_model = LatencyModel(self._space, table)
        prior = None
        if scores is not None:
            tied = {group[0]: group for group in self._space.ties}
            prior = {
                name: {
                    str(choice): sum(scores[site][choice] for site in tied.get(name, (name,)))
                    for choice in choices
                }
                for name, choices in self._space.variables.items()
            }
        self._sampler = self._study.sampler = self._make_sampler(prior)

    def _foretell_ratios(self, many: list[dict[str, str]]) -> Floats:
        return self.latency_model.ratios(many)

    def enqueue(self, architectures: Sequence[tuple[Architecture, Origin]]) -> None:
        """Put architectures before the sampler's own proposals, in this order.

        The base network may lie outside the space (a site without `regular`): it is evaluated all the same. One that
        is in the study already is left out.
        """
        there = {
            trial.user_attrs.get("architecture") for trial in self._study.get_trials(deepcopy=False)
        }
        for architecture, origin in architectures:
            if architecture.text in there:
                continue
            attrs = {"architecture": architecture.text, "origin": origin}
            self._study.enqueue_trial(self._params(architecture), user_attrs=attrs)

    def propose(self) -> Proposal | None:
        """Give an architecture that was never evaluated nor is under way; None where the space has no other."""
        self.latency_model.learn(self.records)
        error = self.latency_model.error
        if isinstance(self._sampler, LatencyAwareSampler) and error is not None:
            self._sampler.max_latency = self.limits.latency_ratio - error
        for _ in range(_ASKS_BEFORE_DRAWING):
            try:
                trial = self._ask()
            except SpaceExhaustedError:
                break
            proposal = self._accept(trial)
            if proposal is not None:
                return proposal
        return self._propose_drawn()

    def _excess(self, architecture: Architecture) -> float:
        return self.latency_model.excess(architecture, self.limits.latency_ratio)

    def _propose_drawn(self) -> Proposal | None:
        """Draw until something new comes up that is not foretold to be too slow; failing that, the least slow of all.

        For a sampler that has converged, that knows of nothing fast yet, or a space that is nearly used up.
        """
        drawn: dict[Architecture, float] = {}
        for _ in range(_DRAWS):
            architecture = self._space.sample(self._rng, replaced=self._rng.random())
            if architecture in self._known:
                continue
            drawn[architecture] = self._excess(architecture)
            if drawn[architecture] <= 0:
                break
        # An older one in the queue may come first, and be known.
        for architecture in sorted(drawn, key=drawn.__getitem__)[:_ASKS_BEFORE_DRAWING]:
            self.enqueue([(architecture, "sampler")])
            try:
                proposal = self._accept(self._ask())
            except SpaceExhaustedError:  # what was drawn is a seed that was passed over
                return None
            if proposal is not None:
                return proposal
        return None

    def _ask(self) -> optuna.Trial:
        """Ask for the next trial of the queue, else the sampler's."""
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        text = waiting[0].user_attrs.get("architecture") if waiting else None
        if text is not None and not self._is_inside(Architecture.from_text(text)):
            # Without parameters: the sampler would fill in those of another architecture.
            return self._study.ask()
        return self._study.ask(self._distributions)

    def repeat_base(self) -> bool:
        """Put the base network's trial into the queue again, under its number, where it did not come to its end."""
        base = Architecture()
        record = self._known.get(base)
        if record is None or record.state not in ("failed", "stopped"):
            return False
        del self._known[base], self._records[record.trial]
        attrs = {"architecture": base.text, "origin": record.origin, "trial": record.trial}
        self._study.enqueue_trial(self._params(base), user_attrs=attrs)
        return True

    def _accept(self, trial: optuna.Trial) -> Proposal | None:
        """Turn an asked trial into a proposal, or answer it from what is known."""
        attrs = trial.user_attrs
        if "architecture" in attrs:
            architecture = Architecture.from_text(attrs["architecture"])
        else:
            architecture = self._space.expand(
                {name: Choice.parse(text) for name, text in trial.params.items()}
            )
        if architecture in self._known:
            self._answer(trial, self._known[architecture])
            return None
        # The latency-aware sampler has checked its own: it gives what is too slow only where nothing else is left.
        blind = not isinstance(self._sampler, LatencyAwareSampler)
        unchecked = ("architecture" not in attrs and blind) or (
            attrs.get("origin") == "seed" and "trial" not in attrs
        )
        if unchecked and (excess := self._excess(architecture)) > 0:
            trial.set_user_attr("foretold", "too slow")
            trial.set_constraint("latency", excess)
            self._study.tell(trial, state=TrialState.PRUNED)  # the sampler learns from it
            return None
        number = int(attrs.get("trial", self._next))
        self._next = max(self._next, number + 1)
        origin = cast("Origin", attrs.get("origin", "sampler"))
        trial.set_user_attr("trial", number)
        trial.set_user_attr("architecture", architecture.text)
        trial.set_user_attr("origin", origin)
        self._known.setdefault(architecture, None)
        return Proposal(number, trial.number, architecture, origin)

    def _answer(self, trial: optuna.Trial, record: TrialRecord | None) -> None:
        """Tell the sampler what an architecture it proposes again is known to have: free, and not a trial of ours."""
        trial.set_user_attr("duplicate", True)
        if record is not None and record.state == "complete":
            self._study.tell(trial, values=self._values(record))
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _is_inside(self, architecture: Architecture) -> bool:
        return len(self._params(architecture)) == len(self._distributions)

    def _params(self, architecture: Architecture) -> dict[str, str]:
        wanted = {name: architecture[name] for name in self._space.variables}
        return {n: str(c) for n, c in wanted.items() if c in self._space.variables[n]}
