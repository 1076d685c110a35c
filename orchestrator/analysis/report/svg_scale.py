"""Scales and tick marks of the SVG charts."""

import math
from dataclasses import dataclass

#: width in pixels of the strip for values of 0, left of a logarithmic axis
_ZERO_PX = 34.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Maps values of an axis to pixels.

    - `low`, `high`: ends of the axis; positive if `log`.
    - `start`, `end`: the pixels of `low` and `high`.
    - `zero`: the pixel of values that are not positive, on a logarithmic axis; None if the axis has no such value.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    zero: float | None = None

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        if self.log and value <= 0.0:
            return self.start if self.zero is None else self.zero
        low, high = (math.log10(self.low), math.log10(self.high)) if self.log else (self.low, self.high)
        share = ((math.log10(value) if self.log else value) - low) / (high - low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values inside the axis."""
        return log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def x_scale(values: "list[float]", start: float, end: float, *, log: bool) -> Scale:
    """Return a horizontal scale for values, with a small margin on both sides."""
    positive = [value for value in values if value > 0.0]
    if log and positive:
        has_zero = len(positive) < len(values)
        low, high = min(positive), max(positive)
        factor = max((high / low) ** 0.03, 1.05)
        return Scale(
            low=low / factor,
            high=high * factor,
            start=start + (_ZERO_PX if has_zero else 0.0),
            end=end,
            log=True,
            zero=start + _ZERO_PX / 3 if has_zero else None,
        )
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = 0.02 * (high - low) or 0.5
    return Scale(low=low - margin, high=high + margin, start=start, end=end)


def _linear_ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 6
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * unit for factor in (1.0, 2.0, 5.0, 10.0) if factor * unit >= raw)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times each power of ten between two positive values; only the powers if these are many."""
    decades = math.log10(high / low)
    factors = (1.0, 2.0, 5.0) if decades <= 3.0 else (1.0,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in factors]
    inside = [tick for tick in ticks if low <= tick <= high]
    return inside or [low, high]
