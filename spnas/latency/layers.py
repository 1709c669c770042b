"""Latency of single layers: each operator's deployed forms timed beside the plain convolution, kept on disk."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from spnas.architecture import REGULAR
from spnas.device import device_name
from spnas.errors import SpnasError
from spnas.latency.runtimes import Sampler, check_runtime, default_runtime, get_runtime
from spnas.operators import Operator, build_operator
from spnas.runs.files import cache_directory, write_text_atomic

logger = logging.getLogger("spnas")

PLAIN = "plain"
_ROUNDS, _WARMUP_ROUNDS = 7, 2
_SAMPLE_S = 0.004
_FIRST_ROUNDS, _BEHIND = (
    2,
    1.2,
)  # a form that so many rounds say to be so much slower than another is timed no further
# A form takes the default one's place only where it is faster by more than two measurements of one form differ.
_MARGIN = 0.03
_PACKAGES = ("spnas", "torch", "onnxruntime", "openvino")


@dataclass(frozen=True)
class LayerTimes:
    """What one layer takes.

    Attributes:
        plain_s: Seconds of a forward of the plain convolution that the operator replaces, deployed likewise.
        forms_s: Seconds of a forward of each deployed form of the operator, its default first.
    """

    plain_s: float
    forms_s: dict[str, float]

    @property
    def form(self) -> str:
        """The fastest form; the default unless another is clearly faster."""
        default = next(iter(self.forms_s))
        fastest = min(self.forms_s, key=self.forms_s.__getitem__)
        clear = self.forms_s[fastest] < (1 - _MARGIN) * self.forms_s[default]
        return fastest if clear else default

    @property
    def seconds(self) -> float:
        """Seconds of a forward of that form."""
        return self.forms_s[self.form]


class LayerTimer:
    """Times layers on one device in one runtime; what it has measured once it reads from the cache folder.

    A measurement is known again by the operator, the file that defines it, its parameters and forms, the convolution's
    geometry, what surrounds it, the input's shape, the device's name, the runtime, the number of threads and the
    versions of spnas and of the runtimes.

    Args:
        device: Where to measure.
        runtime: A registered runtime, the device's default where None.
        threads: CPU threads to run with.
        exclusive: Makes a context that is held while times are taken, such as `DeviceLock.exclusive`.
        directory: Where measurements are kept; the user's cache folder where None.

    Raises:
        ConfigError: There is no such runtime on the device.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        runtime: str | None = None,
        threads: int = 1,
        exclusive: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
        directory: Path | None = None,
    ) -> None:
        self.device = device
        self.runtime = runtime or default_runtime(device)
        check_runtime(self.runtime, device)
        self.threads = threads
        self.directory = directory or cache_directory() / "layers"
        self._exclusive = exclusive
        self._known: dict[str, LayerTimes] = {}
        self._setting = {
            "device": device_name(device),
            "runtime": self.runtime,
            "threads": threads,
            "versions": _versions(),
        }

    def time(self, operator: Operator, shape: Sequence[int]) -> LayerTimes:
        """Give an operator's times on inputs of a shape `(N, C, H, W)`, measured where they are not known."""
        key = json.dumps({**_description(operator, shape), **self._setting}, sort_keys=True)
        if key not in self._known:
            file = self.directory / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
            self._known[key] = _read(file) or self._measure(operator, shape, file, key)
        return self._known[key]

    def _measure(
        self, operator: Operator, shape: Sequence[int], file: Path, key: str
    ) -> LayerTimes:
        times = self.take(_variants(operator, shape), shape)
        plain = times.pop(PLAIN)
        result = LayerTimes(plain, times or {operator.form: plain})
        self.directory.mkdir(parents=True, exist_ok=True)
        write_text_atomic(file, json.dumps({"key": json.loads(key), **asdict(result)}, indent=1))
        return result

    def take(self, modules: Mapping[str, nn.Module], shape: Sequence[int]) -> dict[str, float]:
        """Time modules in turn, nothing being read from the cache.

        Args:
            modules: Deployed layers by name. The first is what the others are timed beside; of those after the second,
                one that the runtime cannot run, or runs with another result, is left out.
            shape: Of their input, `(N, C, H, W)`.

        Returns:
            Seconds of a forward: each module's median ratio to the first one's, times that one's median. Those of
            modules after the second that are far slower than the fastest come from fewer samples.
        """
        image = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0))
        with get_runtime(self.runtime)(self.device, self.threads) as session:
            samplers: dict[str, Sampler] = {}
            for place, (name, module) in enumerate(modules.items()):
                try:
                    samplers[name] = session.load(module, image)
                except SpnasError as error:
                    if place < 2:
                        raise
                    logger.warning("%s is passed over: %s", name, error)
            with self._exclusive():
                taken = _rounds(list(samplers.values()))
        reference = taken[:, :1]
        seconds = np.nanmedian(taken / reference, axis=0) * np.median(reference)
        return dict(zip(samplers, seconds.tolist(), strict=True))


def _rounds(samplers: list[Sampler]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Sample in turn; seconds of a forward, a row a round and a column a sampler, NaN where it was timed no further."""
    counts = [_forwards(sampler) for sampler in samplers]
    taken = np.full((_WARMUP_ROUNDS + _ROUNDS, len(samplers)), np.nan)
    going = list(range(len(samplers)))
    for number, row in enumerate(taken, start=1):
        for place in going:
            row[place] = samplers[place](counts[place]).clock_s / counts[place]
        if number == _WARMUP_ROUNDS + _FIRST_ROUNDS:
            first = np.median(taken[_WARMUP_ROUNDS:number], axis=0)
            slowest = _BEHIND * first[1:].min(initial=np.inf)
            going = [place for place in going if place < 2 or first[place] <= slowest]
    return taken[_WARMUP_ROUNDS:]


def _forwards(sampler: Sampler) -> int:
    """Say how many forwards fill a sample, from the fastest of three after a first one that sets things up."""
    sampler(1)
    return max(1, math.ceil(_SAMPLE_S / max(min(sampler(1).wall_s for _ in range(3)), 1e-6)))


def _variants(operator: Operator, shape: Sequence[int]) -> dict[str, nn.Module]:
    """Give what to time, with fresh weights: the plain convolution and each deployed form of the operator."""
    site, host = operator.site, operator.host
    variants = {PLAIN: build_operator(REGULAR, site, host).eval().deploy()}
    if operator.choice != REGULAR:
        fresh = build_operator(operator.choice, site, host).eval()
        for form in fresh.forms(shape):
            fresh.form = form
            variants[form] = fresh.deploy()
    return variants


def _description(operator: Operator, shape: Sequence[int]) -> dict[str, Any]:
    """Give what a layer's latency depends on, less the device."""
    host = operator.host
    act = None if host.act is None or host.applies_act else type(host.act).__name__
    return {
        "operator": f"{type(operator).__module__} {operator.choice}",
        "source": _source(type(operator)),
        "forms": list(operator.forms(shape)),
        "site": asdict(replace(operator.site, name="")),
        "act": act,
        "applies_act": host.applies_act,
        "bn": host.bn,
        "shape": list(shape),
    }


@functools.cache
def _source(operator: type[Operator]) -> str | None:
    """Give a digest of the file that defines an operator, so that one that is worked on is measured anew."""
    try:
        source = inspect.getsource(sys.modules[operator.__module__])
    except (OSError, TypeError, KeyError):
        return None  # defined where there is no file, such as at an interpreter's prompt
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _read(file: Path) -> LayerTimes | None:
    """Read a measurement; None where there is none that can be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return LayerTimes(content["plain_s"], content["forms_s"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
