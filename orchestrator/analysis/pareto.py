"""Which of several points are worth choosing between."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices, ascending, of the (cost, value) points that no other one dominates.

    Low cost and high value are good. A point dominates another when it is at least as good in both and
    better in one; equal points thus are on the front together, or not.
    """
    ordered = sorted(range(len(points)), key=lambda idx: (points[idx][0], -points[idx][1]))
    front: list[int] = []
    for idx in ordered:
        cost, value = points[idx]
        if not front or value > points[front[-1]][1] or (cost, value) == points[front[-1]]:
            front.append(idx)
    return sorted(front)
