"""Chooses units for axes, so that the numbers on an axis are short."""

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.analysis.options import COST_TITLES, Cost

_PREFIXES = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SYMBOLS: dict[Cost, str] = {"upload": "B", "download": "B", "flops": "FLOP"}
#: an axis is in hours, or in minutes, if its largest value has at least this many seconds
_HOURS_FROM_S, _MINUTES_FROM_S = 7200.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """An axis: the size of its unit, in bytes, FLOPs or seconds, and its label."""

    unit: float = 1.0
    label: str = ""


def cost_axis(cost: Cost, values: Iterable[float]) -> Axis:
    """Return an axis on which the largest value has only a few digits."""
    largest = max(values, default=0.0)
    if cost == "time":
        if largest >= _HOURS_FROM_S:
            unit, symbol = 3600.0, "h"
        else:
            unit, symbol = (60.0, "min") if largest >= _MINUTES_FROM_S else (1.0, "s")
    else:
        unit, prefix = next((pair for pair in _PREFIXES if largest >= pair[0]), _PREFIXES[-1])
        symbol = f"{prefix}{_SYMBOLS[cost]}"
    return Axis(unit=unit, label=f"{COST_TITLES[cost]}, {symbol}")


def is_logarithmic(cost: Cost, values: Iterable[float]) -> bool:
    """Whether an axis is logarithmic: axes of bytes and FLOPs are, if some value is positive."""
    return cost != "time" and any(value > 0 for value in values)
