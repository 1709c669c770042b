from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spnas.search.scheduler import Point, RungRule, fronts, ranking

points_lists = st.lists(
    st.tuples(st.integers(0, 8).map(float), st.integers(0, 8).map(float)), min_size=1, max_size=25
)


def dominates(a: Point, b: Point) -> bool:
    return a[0] >= b[0] and a[1] <= b[1] and a != b


@given(points_lists)
def test_fronts_agree_with_the_definition(points: list[Point]) -> None:
    left = list(range(len(points)))
    for front in fronts(points):
        expected = [i for i in left if not any(dominates(points[j], points[i]) for j in left)]
        assert front == expected
        left = [i for i in left if i not in front]
    assert left == []


@given(points_lists)
def test_ranking_is_a_permutation_that_never_puts_a_dominated_point_first(
    points: list[Point],
) -> None:
    order = ranking(points)
    assert sorted(order) == list(range(len(points)))
    place = {index: position for position, index in enumerate(order)}
    for i, a in enumerate(points):
        for j, b in enumerate(points):
            if dominates(a, b):
                assert place[i] < place[j]


def test_epsilon_net_spreads_over_a_front() -> None:
    front = [(0.1 * i, 1.0 * i) for i in range(11)]
    assert set(ranking(front)[:3]) == {0, 5, 10}


def test_lets_the_first_ones_go_on_and_then_stops_the_dominated() -> None:
    rule = RungRule([1], eta=2, grace=4)
    for trial in range(4):
        assert rule.goes_on(trial, 1, accuracy=0.4 + 0.1 * trial, latency=10.0 + trial)
    assert not rule.goes_on(4, 1, accuracy=0.1, latency=20.0)
    assert rule.goes_on(5, 1, accuracy=0.9, latency=1.0)


def test_knows_only_its_rungs_and_takes_back_what_was_noted_before() -> None:
    rule = RungRule([2], grace=1)
    assert rule.goes_on(0, 1, 0.0, 99.0)
    rule.add(1, 2, accuracy=0.9, latency=1.0)
    assert not rule.goes_on(2, 2, accuracy=0.1, latency=5.0)
