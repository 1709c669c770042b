import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spnas.runs import hypervolume, pareto_indices

# Small whole numbers make equal points and equal coordinates common.
_figure = st.one_of(st.none(), st.just(math.nan), st.just(math.inf), st.integers(0, 6).map(float))
_points = st.lists(st.tuples(_figure, _figure), max_size=12)


def _known(figure: float | None) -> bool:
    return figure is not None and math.isfinite(figure)


def _split(
    points: Sequence[tuple[float | None, float | None]],
) -> tuple[list[float | None], list[float | None]]:
    return [a for a, _ in points], [b for _, b in points]


@given(_points)
def test_the_front_is_what_the_definition_says(
    points: list[tuple[float | None, float | None]],
) -> None:
    def dominates(p: tuple[float, float], q: tuple[float, float]) -> bool:
        return p[0] >= q[0] and p[1] <= q[1] and p != q

    known = [(i, p) for i, p in enumerate(points) if _known(p[0]) and _known(p[1])]
    best = [i for i, p in known if not any(dominates(q, p) for _, q in known)]
    first = [i for i in best if points.index(points[i]) == i]
    expected = sorted(first, key=lambda i: points[i][1])
    assert pareto_indices(*_split(points)) == expected


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        pareto_indices([0.5], [])


@given(_points, st.integers(0, 6), st.integers(0, 7))
def test_hypervolume_counts_the_dominated_cells_of_a_grid(
    points: list[tuple[float | None, float | None]], worst_accuracy: int, worst_latency: int
) -> None:
    known = [(a, b) for a, b in points if _known(a) and _known(b)]
    cells = [
        any(a >= x + 1 and b <= y for a, b in known)
        for x in range(worst_accuracy, 6)
        for y in range(worst_latency)
    ]
    volume = hypervolume(*_split(points), (float(worst_accuracy), float(worst_latency)))
    assert volume == sum(cells)


_real = st.floats(0, 1, allow_nan=False)


@given(st.lists(st.tuples(_real, _real), max_size=5))
def test_hypervolume_equals_inclusion_and_exclusion(points: list[tuple[float, float]]) -> None:
    total = 0.0
    for chosen in range(1, 2 ** len(points)):
        corner = [p for i, p in enumerate(points) if chosen >> i & 1]
        area = min(a for a, _ in corner) * (1 - max(b for _, b in corner))
        total += area if len(corner) % 2 else -area
    assert hypervolume(*_split(points), (0.0, 1.0)) == pytest.approx(total, abs=1e-12)


@given(st.lists(st.tuples(_real, _real), min_size=1, max_size=8))
def test_a_further_point_never_lowers_the_hypervolume(points: list[tuple[float, float]]) -> None:
    assert hypervolume(*_split(points), (0.0, 1.0)) >= hypervolume(*_split(points[1:]), (0.0, 1.0))
