"""The colours and line styles of configurations."""

from orchestrator.analysis.report.charts import (
    MAX_NAMED,
    Series,
)
from orchestrator.analysis.report.styles import color, dashed


def _series(rank: int = 0, x: tuple[float, ...] = (1.0, 2.0), y: tuple[float, ...] = (0.5, 0.6)) -> Series:
    return Series(label=f"m{rank}", rank=rank, x=x, y=y, low=(), high=(), rounds=tuple(range(len(x))))


def test_named_series_have_distinct_styles() -> None:
    looks = [(color(s), dashed(s)) for s in map(_series, range(24))]
    assert len(set(looks[:MAX_NAMED])) == MAX_NAMED
    assert len(set(looks[MAX_NAMED:])) == 1
    assert looks[-1] not in looks[:MAX_NAMED]
