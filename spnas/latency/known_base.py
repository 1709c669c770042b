"""What a process has learnt of the base network, which every candidate is measured beside."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
from torch import Tensor, nn

from spnas.latency.estimate import Estimate
from spnas.latency.runtimes import Sampler, Session
from spnas.latency.runtimes.session import Converted, DeployedSession

_LATEST = 8  # measurements
_QUICK = 0.25
_FEWEST = 3  # that tell how far they lie apart


class KnownBase:
    """The base network in the runtime's format, and what it took in the latest measurements.

    By the times another measurement is seen to be disturbed: one that takes longer than the quicker of them did. The
    latest, since a processor that throttles for good is what the network runs on. For one base network, which is not
    changed, in one runtime.
    """

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_LATEST)
        self._converted: tuple[nn.Module, Tensor, Converted] | None = None

    @property
    def unmeasured(self) -> bool:
        """Whether there was no measurement yet."""
        return not self._seconds

    def add(self, seconds: float) -> None:
        """Keep the time of a forward in a measurement."""
        self._seconds.append(seconds)

    def slowdown(self, seconds: float) -> float:
        """Say by what share it took longer than in the quickest quarter of them; 0 where there is none."""
        if self.unmeasured:
            return 0.0
        return seconds / float(np.quantile(self._seconds, _QUICK)) - 1

    def wander(self, seconds: Iterable[float]) -> float:
        """Say how far the base's times lie apart from measurement to measurement, a standard deviation as a share.

        What moves them moves a candidate's about as far again: other machines' work on caches and memory, mostly.

        Args:
            seconds: What a forward took in each attempt of a measurement that is not kept yet.

        Returns:
            0 where there are fewer than three.
        """
        times = [*self._seconds, *seconds]
        if len(times) < _FEWEST:
            return 0.0
        found = Estimate.of(times)
        return found.std / found.value

    def load(self, session: Session, base: nn.Module, example: Tensor) -> Sampler:
        """Do what `Session.load` does, without converting the same base for the same input once more."""
        if not isinstance(session, DeployedSession) or session.convert is None:
            return session.load(base, example)
        kept = self._converted
        if kept is None or kept[0] is not base or kept[1] is not example:
            kept = self._converted = base, example, session.converted(base, example)
        return session.open(kept[2])
