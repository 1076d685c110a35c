"""Computes the Pareto front of points with a cost and a value."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the ascending indices of the (cost, value) points that no other point dominates.

    Low cost and high value are good. A point dominates another point if it is at least as good in both and better in
    one. Equal points are therefore either all on the front or all off the front.
    """
    ordered = sorted(range(len(points)), key=lambda idx: (points[idx][0], -points[idx][1]))
    front: list[int] = []
    for idx in ordered:
        cost, value = points[idx]
        if not front or value > points[front[-1]][1] or (cost, value) == points[front[-1]]:
            front.append(idx)
    return sorted(front)
