"""The Pareto front, against values computed by hand and against the definition."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.analysis.pareto import pareto_front

Point = tuple[float, float]
#: few distinct numbers, so that ties and duplicates are frequent
small = st.integers(0, 4).map(float)
points = st.lists(st.tuples(small, small), max_size=9) | st.lists(
    st.tuples(st.floats(0, 1e12), st.floats(0, 1)), max_size=9
)


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is at least as cheap and as good as `b`, and strictly better in one of both."""
    return a[0] <= b[0] and a[1] >= b[1] and (a[0] < b[0] or a[1] > b[1])


@given(points)
def test_front_has_all_points_that_no_point_dominates(given_points: list[Point]) -> None:
    expected = [
        idx
        for idx, point in enumerate(given_points)
        if not any(dominates(other, point) for other in given_points)
    ]
    assert pareto_front(given_points) == expected


def test_front_with_ties_and_duplicates() -> None:
    assert pareto_front([]) == []
    assert pareto_front([(1, 0.5), (1, 0.6), (2, 0.6), (2, 0.7), (3, 0.1)]) == [1, 3]
    assert pareto_front([(2, 0.5), (1, 0.3), (2, 0.5)]) == [0, 1, 2]
