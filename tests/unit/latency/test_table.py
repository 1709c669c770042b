"""The latency table: sums by hand, its correction on networks that are known, and a real one."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from spnas.architecture import REGULAR, Architecture, Choice
from spnas.latency import LatencyTable, LayerTimer, build_table
from spnas.latency.layers import LayerTimes
from spnas.spaces import load_space

GHOST, SPCONV = Choice.parse("ghost:0.5"), Choice.parse("spconv:0.25")
TABLE = LatencyTable(
    base_s=0.010,
    times={
        "a": {
            REGULAR: LayerTimes(0.0042, {"default": 0.0042}),
            GHOST: LayerTimes(0.004, {"default": 0.002}),
            SPCONV: LayerTimes(0.004, {"split": 0.003, "dense": 0.001}),
        },
        "b": {
            REGULAR: LayerTimes(0.001, {"default": 0.001}),
            GHOST: LayerTimes(0.001, {"default": 0.0015}),
        },
    },
)


def test_adds_up_what_each_choice_takes_more_than_the_plain_convolution() -> None:
    assert TABLE.ratio(Architecture()) == 1.0
    assert TABLE.added("a", REGULAR) == 0.0
    assert TABLE.ratio(Architecture({"a": SPCONV})) == pytest.approx(0.7)  # in its fastest form
    both = Architecture({"a": GHOST, "b": GHOST})
    assert TABLE.ratio(both) == pytest.approx(1 - 0.2 + 0.05)
    assert TABLE.ratios([both, Architecture()]).tolist() == [TABLE.ratio(both), 1.0]


def test_reads_back_what_was_written() -> None:
    back = LatencyTable.from_json(json.loads(json.dumps(TABLE.to_json())))
    both = Architecture({"a": SPCONV, "b": GHOST})
    assert back.ratio(both) == pytest.approx(TABLE.ratio(both), rel=1e-12)
    assert {site: list(given) for site, given in back.times.items()} == {
        site: list(given) for site, given in TABLE.times.items()
    }
    assert back.times["a"][SPCONV].form == "dense"


def test_shares_add_up_to_the_ratio_also_when_corrected() -> None:
    table = many_sites()
    known = drawn(table, 12, seed=2)
    ratios = 1 + 0.9 * (table.ratios(known) - 1)
    for corrected in (table, table.fitted(known, ratios.tolist())):
        for architecture in drawn(table, 5, seed=3):
            shares = [corrected.share(site, choice) for site, choice in architecture.items()]
            assert 1 + sum(shares) == pytest.approx(corrected.ratio(architecture))
    assert table.share("s0", REGULAR) == 0.0


def test_an_unknown_choice_is_told() -> None:
    with pytest.raises(KeyError):
        TABLE.ratio(Architecture({"b": SPCONV}))


def many_sites() -> LatencyTable:
    rng = np.random.default_rng(0)
    return LatencyTable(
        0.02,
        {
            f"s{i}": {
                REGULAR: LayerTimes(1e-3, {"default": 1e-3}),
                **{
                    choice: LayerTimes(1e-3, {"default": float(rng.uniform(3e-4, 1.5e-3))})
                    for choice in (GHOST, SPCONV)
                },
            }
            for i in range(20)
        },
    )


def drawn(table: LatencyTable, count: int, seed: int) -> list[Architecture]:
    rng = random.Random(seed)
    return [
        Architecture({site: rng.choice(list(given)) for site, given in table.times.items()})
        for _ in range(count)
    ]


def test_the_correction_finds_a_cost_of_each_replaced_site() -> None:
    """Networks where a ghost costs 1% more than alone, and everything is saved by 90% only; 1% noise."""
    table = many_sites()
    rng = np.random.default_rng(1)

    def truth(architectures: list[Architecture]) -> np.ndarray:
        ghosts = [list(a.values()).count(GHOST) for a in architectures]
        return 1 + 0.9 * (table.ratios(architectures) - 1) + 0.01 * np.array(ghosts)

    seen, unseen = drawn(table, 20, 0), drawn(table, 50, 1)
    fitted = table.fitted(seen, truth(seen) * rng.normal(1, 0.01, len(seen)))
    assert np.abs(fitted.ratios(unseen) / truth(unseen) - 1).max() < 0.02
    assert np.abs(table.ratios(unseen) / truth(unseen) - 1).max() > 0.05
    assert fitted.ratio(Architecture()) == 1.0


def test_two_measurements_do_not_bend_the_table() -> None:
    table = many_sites()
    seen, unseen = drawn(table, 2, 0), drawn(table, 50, 1)
    fitted = table.fitted(seen, table.ratios(seen))
    assert fitted.ratios(unseen) == pytest.approx(table.ratios(unseen), abs=1e-9)


def test_a_real_table_holds_every_choice_of_the_space(tmp_path: Path) -> None:
    space = load_space("resnet20-cifar")
    base = space.network.build()
    timer = LayerTimer(torch.device("cpu"), runtime="torch", directory=tmp_path)
    offered = {site: choices[:2] for site, choices in list(space.choices.items())[:7]}
    told: list[tuple[int, int]] = []
    table = build_table(
        base,
        offered,
        torch.rand(2, 3, 32, 32),
        timer,
        base_s=0.01,
        progress=lambda *done: told.append(done),
    )
    assert told[-1] == (7, 7)
    assert {site: set(times) for site, times in table.times.items()} == {
        site: {REGULAR, *choices} for site, choices in offered.items()
    }
    # layer1's six convolutions are one layer: each choice of it was measured once.
    assert len({id(times[GHOST]) for times in table.times.values() if GHOST in times}) <= 2
    assert table.ratio(Architecture({"layer1.0.conv1": GHOST})) > 0
