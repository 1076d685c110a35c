"""Gives each configuration the same look in all charts: a colour, a marker and a line style.

The colour is that of the configuration's family of methods, and the marker that of its method within the family. Line
styles distinguish the configurations of one method. With only one family, methods have their own colours; with only
one method, configurations do.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from orchestrator.analysis.configurations import Configuration
from orchestrator.experiment.methods import algorithm_names, load_algorithm

COLORS = (
    "#1f77b4",
    "#d95f02",
    "#2ca02c",
    "#c2185b",
    "#7b4fb5",
    "#8c564b",
    "#009e9e",
    "#9a8700",
    "#333333",
    "#e377c2",
)
GREY = "#c4c4c4"
#: markers by their names in matplotlib
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "p", "h", "<", ">")
#: dashes and gaps of line styles, in line widths; () is a solid line
DASHES: tuple[tuple[float, ...], ...] = (
    (),
    (5, 2),
    (1.5, 1.5),
    (6, 1.5, 1.5, 1.5),
    (9, 3),
    (3, 1, 1, 1, 1, 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a configuration is drawn. `group` is the family, method or label that its colour stands for."""

    group: str
    color: str
    marker: str
    dashes: tuple[float, ...]


def looks_of(configurations: Sequence[Configuration]) -> list[Look]:
    """Return the look of each configuration. Colours and markers go to groups and methods in the given order."""
    families = [family_of(each.method) for each in configurations]
    methods = [each.method for each in configurations]
    labels = [each.label for each in configurations]
    groups = next((names for names in (families, methods) if len(set(names)) > 1), labels)
    colors = _places((0, group) for group in groups)
    markers, dashes = _places(zip(groups, methods, strict=True)), _places(zip(methods, labels, strict=True))
    return [
        Look(
            group=group,
            color=COLORS[colors[0, group] % len(COLORS)],
            marker=MARKERS[markers[group, method] % len(MARKERS)],
            dashes=DASHES[dashes[method, label] % len(DASHES)],
        )
        for group, method, label in zip(groups, methods, labels, strict=True)
    ]


@cache
def family_of(method: str) -> str:
    """Return the family of a method, by its classification in docs/algorithms.md."""
    if method not in algorithm_names():
        return "other methods"
    traits = load_algorithm(method).traits
    if traits.structure == "structured":
        return "submodels"
    if traits.structure == "update":
        return "sparse updates"
    if traits.structure == "unstructured":
        return "personal masks" if traits.scope == "personal" or traits.personal else "global masks"
    return "dense, personal" if traits.personal else "dense, global"


def _places(pairs: "Iterable[tuple[Hashable, str]]") -> "dict[tuple[Hashable, str], int]":
    """Return for each distinct pair how many other second parts came before it with the same first part."""
    places: dict[tuple[Hashable, str], int] = {}
    counts: dict[Hashable, int] = {}
    for first, second in pairs:
        if (first, second) not in places:
            places[first, second] = counts.get(first, 0)
            counts[first] = counts.get(first, 0) + 1
    return places
