"""The proxies that are compared, and the long training that they are compared with."""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from replacements import added_losses
from torch import nn

from spnas.architecture import REGULAR, Architecture
from spnas.latency import count
from spnas.networks import apply_architecture, load_base_weights
from spnas.spaces import SearchSpace
from spnas.tasks import Task
from spnas.training import (
    Library,
    Schedule,
    Scores,
    build_library,
    choice_scores,
    proxy_schedule,
    score_model,
    train,
)

DEPTHS = (0.15, 0.3, 0.5, 0.7, 0.85, 1.0)
TRUTH = "truth"
LIBRARIES = {"fitted": 0, "library": 1}  # passes over the training images


@dataclass(frozen=True)
class Found:
    """What a proxy says of an architecture after so many epochs: a score, the higher the better, and what it cost."""

    epochs: int
    score: float
    cpu_s: float


@dataclass
class Setting:
    """What every evaluation works with.

    Attributes:
        space: The search space.
        task: Data, loss and metric.
        weights: File of the trained base's weights.
        truth_epochs: Epochs of the long training.
    """

    space: SearchSpace
    task: Task
    weights: str
    truth_epochs: int

    @cached_property
    def base(self) -> nn.Module:
        """The trained base network."""
        base = self.space.network.build(self.task.num_classes)
        load_base_weights(base, self.weights)
        self.task.attach(base)
        return base

    @cached_property
    def schedule(self) -> Schedule:
        """The search's own, to be lengthened."""
        return proxy_schedule(self.task.kind)

    @cached_property
    def libraries(self) -> dict[str, Library]:
        """Operators that were prepared before: `fitted`, or trained too."""
        return {name: Library.load(library_file(self.weights, name)) for name in LIBRARIES}

    @cached_property
    def sensitivities(self) -> dict[str | None, tuple[Scores, float]]:
        """Scores of all choices as inherited and from each library, and the CPU seconds they took."""
        return {name: self._score(name) for name in (None, *LIBRARIES)}

    @cached_property
    def replacements(self) -> tuple[Scores, float]:
        """What each fitted choice really adds to the loss by itself, and the CPU seconds it took."""
        begun, library = time.process_time(), self.libraries["fitted"]
        found = added_losses(self.base, self.space.choices, self.task, library)
        return found, time.process_time() - begun

    def _score(self, name: str | None) -> tuple[Scores, float]:
        library = None if name is None else self.libraries[name]
        size, begun = self.task.imgsz, time.process_time()
        scores = choice_scores(
            self.base, self.space.choices, self.task, imgsz=size, seed=0, library=library
        )
        return scores, time.process_time() - begun


def library_file(weights: str | Path, name: str) -> Path:
    """Say where a library is kept: beside the base's weights."""
    return Path(weights).with_suffix(f".{name}.pt")


def build_libraries(setting: Setting) -> dict[str, float]:
    """Prepare the operators of every choice, by least squares and by training them too; give the CPU seconds."""
    seconds = {}
    for name, passes in LIBRARIES.items():
        begun = time.process_time()
        library = build_library(
            setting.base, setting.space.choices, setting.task, seed=0, passes=passes
        )
        assert library is not None
        library.save(library_file(setting.weights, name))
        seconds[name] = time.process_time() - begun
    return seconds


def draw_architectures(space: SearchSpace, number: int) -> list[Architecture]:
    """Draw over the whole space: the base, the uniform ones, then mixtures that replace few to all of the sites."""
    rng = random.Random(0)
    found = [Architecture(), *(space.uniform(choice) for choice in space.uniform_choices())]
    found = list(dict.fromkeys(found))
    while len(found) < number:
        depth = DEPTHS[len(found) % len(DEPTHS)]
        values = {
            name: rng.choice([c for c in choices if c != REGULAR] or [REGULAR])
            if REGULAR not in choices or rng.random() < depth
            else REGULAR
            for name, choices in space.variables.items()
        }
        architecture = space.expand(values)
        if architecture not in found:
            found.append(architecture)
    return found


def _trained(setting: Setting, model: nn.Module, schedule: Schedule, seed: int) -> Iterator[Found]:
    """Train and give what is known at each rung; the scoring there is part of what the next one costs."""
    rungs: list[Found] = []
    begun = time.process_time()

    def note(result: object) -> bool:
        score = result.score.value  # type: ignore[attr-defined]
        rungs.append(Found(result.epochs, score, time.process_time() - begun))  # type: ignore[attr-defined]
        return True

    train(model, setting.task, schedule, seed=seed, report=note)
    yield from rungs


def truth(setting: Setting, architecture: Architecture, epochs: int, seed: int) -> Iterator[Found]:
    """Train from inherited weights until the curve is flat."""
    epochs = epochs or setting.truth_epochs
    schedule = replace(setting.schedule, epochs=epochs, rungs=(epochs // 3, 2 * epochs // 3))
    torch.manual_seed(seed)
    model = apply_architecture(copy.deepcopy(setting.base), architecture)
    return _trained(setting, model, schedule, seed)


def scratch(
    setting: Setting, architecture: Architecture, epochs: int, seed: int
) -> Iterator[Found]:
    """Train from fresh weights."""
    schedule = replace(setting.schedule, epochs=epochs, rungs=())
    torch.manual_seed(seed)
    model = apply_architecture(
        setting.space.network.build(setting.task.num_classes), architecture, inherit=False
    )
    return _trained(setting, model, schedule, seed)


def inherit(
    setting: Setting,
    architecture: Architecture,
    epochs: int,
    seed: int,
    *,
    library: str | None = None,
) -> Iterator[Found]:
    """Train from inherited weights or a library, as a trial does; without an epoch only statistics are estimated."""
    begun = time.process_time()
    torch.manual_seed(seed)
    model = apply_architecture(copy.deepcopy(setting.base), architecture)
    if library is not None:
        setting.libraries[library].load_into(model, architecture)
    if not epochs:
        score = score_model(model, setting.task, setting.schedule.calibration).value
        yield Found(0, score, time.process_time() - begun)
        return
    schedule = replace(setting.schedule, epochs=epochs, rungs=tuple(range(1, epochs)))
    yield from _trained(setting, model, schedule, seed)


def sensitivity(
    setting: Setting,
    architecture: Architecture,
    epochs: int,
    seed: int,
    *,
    library: str | None = None,
    power: float = 1,
) -> Iterator[Found]:
    """Add up the scores of the choices; nothing is trained. What the scores cost, they cost once."""
    scores, cpu_s = setting.sensitivities[library]
    yield Found(0, _sum(scores, architecture, power), cpu_s)


def replacements(
    setting: Setting, architecture: Architecture, epochs: int, seed: int, *, power: float = 1
) -> Iterator[Found]:
    """Add up the losses that the choices add each by itself; nothing is trained."""
    scores, cpu_s = setting.replacements
    yield Found(0, _sum(scores, architecture, power), cpu_s)


def _sum(scores: Scores, architecture: Architecture, power: float) -> float:
    """Add up powers of scores, of which those above 0 count as 0."""
    return -sum(max(0.0, -scores[site][choice]) ** power for site, choice in architecture.items())


def params(setting: Setting, architecture: Architecture, epochs: int, seed: int) -> Iterator[Found]:
    """Count the parameters."""
    model = apply_architecture(copy.deepcopy(setting.base), architecture)
    yield Found(0, count(model, setting.task.imgsz).params, 0.0)


def macs(setting: Setting, architecture: Architecture, epochs: int, seed: int) -> Iterator[Found]:
    """Count the multiply-accumulates."""
    model = apply_architecture(copy.deepcopy(setting.base), architecture)
    yield Found(0, count(model, setting.task.imgsz).macs, 0.0)


def synflow(
    setting: Setting, architecture: Architecture, epochs: int, seed: int
) -> Iterator[Found]:
    """SynFlow of the fresh network: the sum over weights of |w dR/dw|, R the output for ones and absolute weights.

    Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020; as a
    score of architectures Abdelfattah et al., Zero-cost proxies for lightweight NAS, ICLR 2021, whose code takes
    BatchNorm in eval mode.
    """
    begun = time.process_time()
    torch.manual_seed(seed)
    model = setting.space.network.build(setting.task.num_classes)
    apply_architecture(model, architecture, inherit=False).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    size = setting.task.imgsz
    _total(model(torch.ones(1, 3, size, size, dtype=torch.float64))).backward()
    flow = sum(
        (p * p.grad).abs().sum() for p in model.parameters() if p.grad is not None and p.ndim > 1
    )
    yield Found(0, float(torch.log(torch.as_tensor(flow))), time.process_time() - begun)


def _total(outputs: object) -> torch.Tensor:
    if isinstance(outputs, torch.Tensor):
        return outputs.sum()
    if isinstance(outputs, dict):
        return _total(list(outputs.values()))
    assert isinstance(outputs, (list, tuple))
    return torch.stack([_total(output) for output in outputs]).sum()


Proxy = Callable[[Setting, Architecture, int, int], Iterator[Found]]
PROXIES: dict[str, Proxy] = {
    TRUTH: truth,
    "scratch": scratch,
    "inherit": inherit,
    **{name: partial(inherit, library=name) for name in LIBRARIES},
    "sensitivity": sensitivity,
    **{f"sensitivity of {name}": partial(sensitivity, library=name) for name in LIBRARIES},
    "squared sensitivity of fitted": partial(sensitivity, library="fitted", power=2),
    "single losses of fitted": replacements,
    "roots of single losses of fitted": partial(replacements, power=0.5),
    "synflow": synflow,
    "params": params,
    "macs": macs,
}
