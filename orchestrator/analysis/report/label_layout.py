"""Places labels so that they do not cover each other."""

from collections.abc import Sequence
from dataclasses import dataclass

#: places of a label around its point: side (-1: left, 1: right), and rows above (-) or below (+) the point
_PLACES = tuple((side, row) for row in (0, -1, 1, -2, 2, -3, 3, -4, 4) for side in (1, -1))


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Box") -> bool:
        """Whether the rectangles have an area in common."""
        return (
            self.left < other.right
            and other.left < self.right
            and self.top < other.bottom
            and other.top < self.bottom
        )

    def is_inside(self, other: "Box") -> bool:
        """Whether this rectangle is completely inside the other one."""
        return (
            self.left >= other.left
            and self.right <= other.right
            and self.top >= other.top
            and self.bottom <= other.bottom
        )


def spread_rows(wanted: Sequence[float], gap: float, top: float, bottom: float) -> list[float]:
    """Return a position for each label of a column, near the wanted one and at least `gap` from the next.

    The labels keep their order. They stay between `top` and `bottom` if all of them fit.
    """
    order = sorted(range(len(wanted)), key=lambda idx: wanted[idx])
    placed = [0.0] * len(wanted)
    lowest = top
    for idx in order:
        placed[idx] = max(wanted[idx], lowest)
        lowest = placed[idx] + gap
    highest = max(bottom, top + gap * (len(wanted) - 1))
    for idx in reversed(order):
        placed[idx] = min(placed[idx], highest)
        highest = placed[idx] - gap
    return placed


def place_labels(
    points: Sequence[tuple[float, float]], widths: Sequence[float], height: float, area: Box, radius: float
) -> list[Box]:
    """Return the box of the label of each point; earlier points have the first choice.

    A box avoids the points and the boxes before it if one of the places around its point is free; else it gets the
    place that covers the fewest of them.
    """
    taken = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    boxes: list[Box] = []
    for (x, y), width in zip(points, widths, strict=True):
        choices = [_box(x, y, width, height, radius, side, row) for side, row in _PLACES]
        inside = [box for box in choices if box.is_inside(area)] or choices
        others = [*taken, *boxes]
        boxes.append(min(inside, key=lambda box: sum(box.overlaps(other) for other in others)))
    return boxes


def _box(x: float, y: float, width: float, height: float, radius: float, side: int, row: int) -> Box:
    gap = radius + 3
    left = x + gap if side > 0 else x - gap - width
    top = y - height / 2 + row * height
    return Box(left, top, left + width, top + height)
