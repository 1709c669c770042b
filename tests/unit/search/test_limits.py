"""Limits as the user writes them, and what they refuse."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas.errors import ConfigError
from spnas.search.limits import Limit, Limits
from spnas.search.objective import Evaluation

BASE = {"latency_ms": 10.0, "params": 3_000_000, "macs": 4_000_000_000}


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("8ms", 8), ("0.7x", 7), ("1x", 10), (" 1.5 ms ", 1.5), ("0.02s", 20), ("500us", 0.5)],
)
def test_latency(text: str, milliseconds: float) -> None:
    assert Limit.latency(text).resolve(10.0) == pytest.approx(milliseconds)


@pytest.mark.parametrize(
    ("value", "count"),
    [("2.5M", 2.5e6), ("3G", 3e9), ("800k", 8e5), (2_500_000, 2.5e6), ("2.5e6", 2.5e6)],
)
def test_count(value: object, count: float) -> None:
    assert Limit.count(value).resolve(1e6) == pytest.approx(count)
    assert Limit.count("0.8x").resolve(1e6) == pytest.approx(8e5)


@pytest.mark.parametrize("text", ["8", "8 M", "ms", "-1ms", "0ms", "0x", "8MS", "fast", "8 ms x"])
def test_what_is_no_latency_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a time such as 8ms .*or a share .* 0\.7x"):
        Limit.latency(text)


@pytest.mark.parametrize("text", ["8ms", "2.5m", "0", "0M", "many", "1e999", "-3G"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected a number such as 2500000, 2\.5M or 3G"):
        Limit.count(text)


def test_the_base_is_within_its_own_share() -> None:
    one = Limit.latency("1x"), Limit.count("1x"), Limit.count("1x")
    base = Evaluation(latency_ms=10.0, latency_ratio=1.0, params=3_000_000, macs=4_000_000_000)
    assert Limits.resolve(BASE, *one).exceeded(base) == {}


@given(
    st.floats(0.1, 100),
    st.floats(0.1, 10),
    st.integers(1, 10**9),
    st.integers(1, 10**12),
)
def test_an_amount_and_the_same_share_refuse_the_same(
    latency: float, ratio: float, params: int, macs: int
) -> None:
    absolute = Limits.resolve(
        BASE, Limit.latency(f"{latency}ms"), Limit.count("2M"), Limit.count("5G")
    )
    share = Limits.resolve(
        BASE, Limit.latency(f"{latency / 10}x"), Limit.count(f"{2 / 3}x"), Limit.count("1.25x")
    )
    known = Evaluation(latency_ms=10 * ratio, latency_ratio=ratio, params=params, macs=macs)
    expected = {
        *(["latency"] if ratio > absolute.latency_ratio else []),
        *(["params"] if params > 2e6 else []),
        *(["macs"] if macs > 5e9 else []),
    }
    assert set(absolute.exceeded(known)) == expected
    assert share.latency_ratio == pytest.approx(absolute.latency_ratio)
    assert all(excess > 0 for excess in absolute.exceeded(known).values())


def test_the_reason_names_what_is_known_and_allowed() -> None:
    limits = Limits.resolve(BASE, Limit.latency("8ms"), Limit.count("2.5M"), None)
    known = Evaluation(latency_ms=9.1, latency_ratio=0.91, params=2_500_001, macs=10**12)
    assert limits.reason(known) == ("params 2500001, allowed 2500000; latency 9.1 ms, allowed 8 ms")
    assert limits.exceeded(known)["latency"] == pytest.approx(9.1 / 8 - 1)
    assert limits.reason(Evaluation()) is None  # what is not known exceeds nothing
    assert Limits().reason(known) is None
