"""The marks of an SVG chart: paths, markers and text. All text is escaped."""

import math
from collections.abc import Sequence
from html import escape


def _star(*radii: float) -> list[tuple[float, float]]:
    """Return corners at equal angles, from the top on, with these distances from the centre."""
    turns = [2 * math.pi * idx / len(radii) for idx in range(len(radii))]
    return [(r * math.sin(turn), -r * math.cos(turn)) for r, turn in zip(radii, turns, strict=True)]


#: width of an average character of 12 px text
_CHARACTER_PX = 6.5
#: corners of the markers that are polygons, with the radius 1; y grows downwards
_POLYGONS: dict[str, list[tuple[float, float]]] = {
    "s": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "^": [(0, -1.1), (1, 0.8), (-1, 0.8)],
    "v": [(0, 1.1), (1, -0.8), (-1, -0.8)],
    "<": [(-1.1, 0), (0.8, -1), (0.8, 1)],
    ">": [(1.1, 0), (-0.8, -1), (-0.8, 1)],
    "D": [(0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)],
    "P": [
        *((-0.4, -1.1), (0.4, -1.1), (0.4, -0.4), (1.1, -0.4), (1.1, 0.4), (0.4, 0.4)),
        *((0.4, 1.1), (-0.4, 1.1), (-0.4, 0.4), (-1.1, 0.4), (-1.1, -0.4), (-0.4, -0.4)),
    ],
    "X": [
        *((0, -0.55), (0.6, -1.1), (1.1, -0.6), (0.55, 0), (1.1, 0.6), (0.6, 1.1)),
        *((0, 0.55), (-0.6, 1.1), (-1.1, 0.6), (-0.55, 0), (-1.1, -0.6), (-0.6, -1.1)),
    ],
    "*": _star(1.3, 0.55, 1.3, 0.55, 1.3, 0.55, 1.3, 0.55, 1.3, 0.55),
    "p": _star(*[1.1] * 5),
    "h": _star(*[1.1] * 6),
}


def path(
    points: Sequence[tuple[float, float]],
    kind: str,
    *,
    closed: bool = False,
    stroke: str = "",
    fill: str = "",
    dashes: Sequence[float] = (),
) -> str:
    """Return a line through points, in pixels. `kind` is its CSS class; `dashes` are in line widths."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    style = f' stroke="{stroke}"' if stroke else ""
    style += f' fill="{fill}"' if fill else ""
    style += f' stroke-dasharray="{" ".join(f"{2 * dash:g}" for dash in dashes)}"' if dashes else ""
    return f'<{"polygon" if closed else "polyline"} class="{kind}" points="{corners}"{style}/>'


def marker(name: str, x: float, y: float, size: float, color: str, tip: str) -> str:
    """Return a marker; `tip` is shown when the pointer is on it ("": nothing)."""
    title = f"<title>{escape(tip)}</title>" if tip else ""
    if name not in _POLYGONS:
        return f'<circle class="m" cx="{x:.1f}" cy="{y:.1f}" r="{size:g}" fill="{color}">{title}</circle>'
    corners = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in _POLYGONS[name])
    return f'<polygon class="m" points="{corners}" fill="{color}">{title}</polygon>'


def text(x: float, y: float, words: str, kind: str, anchor: str, *, fill: str = "") -> str:
    """Return one line of text; `anchor` is `start`, `middle` or `end`."""
    color = f' fill="{fill}"' if fill else ""
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{color}>{escape(words)}</text>'
    )


def text_width(words: str) -> float:
    """Return the estimated width of a label in pixels."""
    return _CHARACTER_PX * len(words)
