"""The names of metrics in MLflow, and which metrics MLflow gets.

MLflow sorts the sections of its charts page and the table of a run's page by name. The names of costs are therefore
changed, so that the accuracies come first.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import final

from orchestrator.tracking.record import RoundRecord

#: name, value, timestamp_ms and round_idx
Point = tuple[str, float, int, int]
#: prefix in `metrics.jsonl` -> prefix in MLflow
_RENAMED = {"comm/": "resources/", "compute/": "resources/", "fleet/": "rounds/"}
#: metrics that MLflow gets only if some value is not 0; a 0 in any other metric is a result
_OFTEN_ZERO = ("fleet/", "sparsity/", "time/")
#: metrics that come before all others
_FIRST = ("eval/accuracy", "personal/accuracy_mean", "validation/accuracy", "eval/loss", "train/loss")
#: prefix of metrics that the MLflow runs of earlier releases have; such a run keeps all its names
EARLIER_PREFIX = "comm/"


def mlflow_metric(name: str) -> str:
    """Return the name in MLflow of a metric of `metrics.jsonl`."""
    prefix, slash, rest = name.partition("/")
    return _RENAMED.get(prefix + slash, prefix + slash) + rest


@final
class MetricPoints:
    """Turns lines of `metrics.jsonl` into points for MLflow, without metrics that have been 0 in all lines until now.

    When such a metric is not 0 for the first time, it gets its earlier points too, so that its chart is complete. The
    points of a line depend only on this line and the lines before it. A line that is sent again has the same points.
    """

    def __init__(self, *, earlier_names: bool) -> None:
        """With `earlier_names`, all metrics keep the names and the zeros that earlier releases sent."""
        self._earlier_names = earlier_names
        self._zeros: dict[str, dict[int, Point]] = {}
        self._first_line: dict[str, int] = {}

    def of_line(self, line: int, record: RoundRecord) -> Iterator[Point]:
        """Yield the points of a line (0-based). Lines must come in order; the last line may come again."""
        for name in sorted(record.metrics, key=_place):
            value = record.metrics[name]
            shown = name if self._earlier_names else mlflow_metric(name)
            point = (shown, value, record.timestamp_ms, record.round_idx)
            if self._earlier_names or not name.startswith(_OFTEN_ZERO):
                yield point
                continue
            if value != 0.0:
                self._first_line.setdefault(name, line)
            if line < self._first_line.get(name, line + 1):
                self._zeros.setdefault(name, {})[line] = point
                continue
            if line == self._first_line[name]:
                yield from self._zeros.get(name, {}).values()
            yield point


def _place(name: str) -> tuple[int, str]:
    """Return the place of a metric: MLflow lists the metrics of a run in the order in which they first arrive."""
    return (_FIRST.index(name) if name in _FIRST else len(_FIRST), mlflow_metric(name))


def final_metrics(summary: Mapping[str, object], sent: Collection[str] = ()) -> dict[str, float]:
    """Return the results of a summary that MLflow gets as metrics.

    These are its numbers, without counts of faults that are 0. A count that was `sent` before, with another value, is
    sent again.
    """
    numbers = {
        name: float(value)
        for name, value in summary.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {
        name: value for name, value in numbers.items() if value != 0 or name not in _FAULTS or name in sent
    }


#: numbers of a summary that say something only if they are not 0
_FAULTS = ("num_failures", "num_not_finite", "num_failed", "num_stopped")
