"""What a candidate may cost at most: latency, parameters, multiply-accumulates."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from spnas.errors import ConfigError

_AMOUNT = re.compile(r"(?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?) *(?P<unit>[A-Za-z]*)")
_RELATIVE = "x"
_MILLISECONDS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_COUNTS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Limit:
    """An upper bound: an amount, or a share of what the base network has.

    Attributes:
        text: As the user wrote it.
        amount: Milliseconds or a count; the share where `relative`.
        relative: Whether it is a share.

    Examples:
        >>> Limit.latency("8ms").resolve(base=12.0)
        8.0
        >>> Limit.count("0.5x").resolve(base=3_000_000)
        1500000.0
    """

    text: str
    amount: float
    relative: bool

    @classmethod
    def latency(cls, value: object) -> Limit:
        """Read a limit on latency; milliseconds.

        Raises:
            ConfigError: It is neither a time with its unit nor a share.
        """
        return cls._parse(str(value), _MILLISECONDS, "a time such as 8ms")

    @classmethod
    def count(cls, value: object) -> Limit:
        """Read a limit on a count.

        Raises:
            ConfigError: It is neither a number, with or without a unit, nor a share.
        """
        return cls._parse(str(value), _COUNTS, "a number such as 2500000, 2.5M or 3G")

    @classmethod
    def _parse(cls, text: str, units: Mapping[str, float], expected: str) -> Limit:
        match = _AMOUNT.fullmatch(text.strip())
        if match is not None and match["unit"] in {*units, _RELATIVE}:
            amount = float(match["number"]) * units.get(match["unit"], 1.0)
            if 0 < amount < math.inf:
                return cls(text.strip(), amount, match["unit"] == _RELATIVE)
        allowed = ", ".join(unit for unit in units if unit)
        raise ConfigError(
            f"expected {expected} (units: {allowed}) or a share of the base network's such as 0.7x"
        )

    def resolve(self, base: float) -> float:
        """Give the amount allowed where the base network has `base`."""
        return self.amount * base if self.relative else self.amount

    def __str__(self) -> str:
        """Give the text as the user wrote it."""
        return self.text


class Figures(Protocol):
    """What limits look at; None where it is not known (yet)."""

    @property
    def latency_ms(self) -> float | None:
        """Latency of the deployed form on the run's scale, ms."""

    @property
    def latency_ratio(self) -> float | None:
        """Latency over the base's."""

    @property
    def params(self) -> int | None:
        """Parameters of the training form."""

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates of the training form."""


@dataclass(frozen=True)
class Limits:
    """Upper bounds resolved against a base network; a candidate above any of them is infeasible.

    Attributes:
        latency_ratio: Most latency over the base's: the ratio is what is measured best.
        params: Most parameters.
        macs: Most multiply-accumulates.
    """

    latency_ratio: float = math.inf
    params: float = math.inf
    macs: float = math.inf

    @classmethod
    def resolve(
        cls, base: Mapping[str, float], latency: Limit, params: Limit | None, macs: Limit | None
    ) -> Limits:
        """Resolve the user's limits.

        Args:
            base: `latency_ms`, `params` and `macs` of the base network.
            latency: On latency.
            params: On parameters; None for none.
            macs: On multiply-accumulates; None for none.
        """
        return cls(
            latency_ratio=latency.resolve(base["latency_ms"]) / base["latency_ms"],
            params=math.inf if params is None else params.resolve(base["params"]),
            macs=math.inf if macs is None else macs.resolve(base["macs"]),
        )

    def exceeded(self, known: Figures) -> dict[str, float]:
        """Give the figures that are above their limit, each with the share it is above; empty for a feasible candidate.

        What is not known exceeds nothing.
        """
        pairs = {
            "params": (known.params, self.params),
            "macs": (known.macs, self.macs),
            "latency": (known.latency_ratio, self.latency_ratio),
        }
        return {
            name: value / allowed - 1
            for name, (value, allowed) in pairs.items()
            if value is not None and value > allowed
        }

    def reason(self, known: Figures) -> str | None:
        """Say in one line which limits are exceeded, None where none is."""
        parts = []
        for name in self.exceeded(known):
            if name == "latency":
                ms = known.latency_ms or math.nan
                allowed = self.latency_ratio * ms / (known.latency_ratio or math.nan)
                parts.append(f"latency {ms:.4g} ms, allowed {allowed:.4g} ms")
            else:
                parts.append(f"{name} {getattr(known, name)}, allowed {int(getattr(self, name))}")
        return "; ".join(parts) or None
