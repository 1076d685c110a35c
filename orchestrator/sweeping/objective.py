"""Objectives of a sweep: the metrics that it optimises, computed from the records of a trial.

A sweep chooses by the clients' validation parts. The test data are for the report of the chosen configuration, so that
an objective on test data needs the prefix `test_`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from orchestrator.analysis.measures import cost_to_reach, final_value, total, value_at_cap
from orchestrator.config.sections import DataConfig
from orchestrator.errors import ConfigError, RequestError
from orchestrator.formatting import parse_bytes
from orchestrator.tracking.record import RoundRecord

Mode = Literal["max", "min"]
Data = Literal["validation", "test"]
#: logged names of the metrics by the data that they are measured on
ACCURACY: dict[Data, str] = {"validation": "validation/accuracy", "test": "eval/accuracy"}
PERSONAL: dict[Data, str] = {
    "validation": "validation/personal_accuracy_mean",
    "test": "personal/accuracy_mean",
}
UPLOAD, TIME = "comm/upload_bytes_total", "time/emulated_s_total"
_FORMS = (
    "accuracy, personal_accuracy, accuracy_at_upload=BYTES, time_to_accuracy=ACCURACY or pareto "
    "(on test data: test_accuracy, test_personal_accuracy, ...)"
)
_UPLOAD_METRIC = "upload_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveMetric:
    """A number to optimise; `mode` says whether the sweep maximises or minimises the number."""

    name: str
    mode: Mode

    def key(self, value: float) -> float:
        """Sort key for ascending order: the best value has the smallest key."""
        return -value if self.mode == "max" else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A parsed objective.

    `data` says where accuracy is measured. `limit` is the number of bytes or the accuracy in the text, and None for an
    objective without a limit.
    """

    data: Data
    kind: str
    limit: float | None
    metrics: tuple[ObjectiveMetric, ...]
    limit_text: str = ""

    @classmethod
    def parse(cls, text: str) -> "Objective":
        """Parse the text of `--objective`. Raises RequestError for an unknown form and for an invalid limit."""
        data: Data = "test" if text.startswith("test_") else "validation"
        kind, equals, limit = text.removeprefix(f"{data}_").partition("=")
        wants_limit = kind in ("accuracy_at_upload", "time_to_accuracy")
        if kind not in _METRICS or bool(equals) != wants_limit:
            raise RequestError("--objective", text, "this objective does not exist", f"choose {_FORMS}")
        value = _parse_limit(text, kind, limit) if wants_limit else None
        metrics = tuple(
            ObjectiveMetric(name=name if name == _UPLOAD_METRIC else f"{data}_{name}", mode=mode)
            for name, mode in _METRICS[kind]
        )
        return cls(data=data, kind=kind, limit=value, metrics=metrics, limit_text=limit)

    @property
    def text(self) -> str:
        """The objective with the name of its data, such as `validation_accuracy`; `parse` accepts it."""
        return f"{self.data}_{self.kind}" + (f"={self.limit_text}" if self.limit_text else "")

    @property
    def note(self) -> str | None:
        """A line for the result of a sweep that chooses by test data; None for validation data."""
        if self.data == "validation":
            return None
        return (
            f"{self.text} ranks by test data, so the test accuracy of the best configuration is too optimistic; "
            f"--objective {self.text.removeprefix('test_')} ranks by validation data"
        )

    @property
    def is_known_early(self) -> bool:
        """Whether the value of a running trial predicts its final value.

        A scheduler may stop trials only by such an objective.
        """
        return len(self.metrics) == 1 and self.kind != "time_to_accuracy"

    def require_data(self, config: DataConfig, num_samples: int | None = None) -> None:
        """Raise ConfigError for a trial whose clients have no validation samples, if the objective needs them.

        `num_samples` is the number of validation samples of all clients (None: not known yet).
        """
        if self.data == "validation" and (config.validation_fraction == 0.0 or num_samples == 0):
            raise ConfigError(
                "data.validation_fraction",
                config.validation_fraction,
                f"no client has validation samples, by which --objective {self.text} ranks the trials",
                f"use 0.1, or --objective {self.text.replace('validation', 'test', 1)}",
            )

    def measure(self, records: Sequence[RoundRecord]) -> dict[str, float]:
        """Return the value of each metric after these records; a missing or non-finite accuracy counts as 0.

        - `accuracy_at_upload`: accuracy of the last evaluated round whose cumulative upload is within the limit; 0
          before such a round.
        - `time_to_accuracy`: emulated seconds until the accuracy is reached (`measures.cost_to_reach`); infinite
          before that.
        """
        values = [self._value(records)]
        if self.kind == "pareto":
            values.append(total(records, UPLOAD) or 0.0)
        return {metric.name: value for metric, value in zip(self.metrics, values, strict=True)}

    def _value(self, records: Sequence[RoundRecord]) -> float:
        """The value of the first metric."""
        accuracy = ACCURACY[self.data]
        if self.kind == "time_to_accuracy":
            assert self.limit is not None
            reached = cost_to_reach(records, accuracy, TIME, self.limit)
            return inf if reached is None else reached
        if self.kind == "accuracy_at_upload":
            assert self.limit is not None
            return value_at_cap(records, accuracy, UPLOAD, self.limit) or 0.0
        if self.kind == "personal_accuracy":
            return final_value(records, PERSONAL[self.data]) or 0.0
        return final_value(records, accuracy) or 0.0


def with_data(name: str) -> str:
    """Return the name of a stored objective or metric with its data.

    Sweeps of earlier versions chose by test data, and stored names without the name of their data.
    """
    named = name == _UPLOAD_METRIC or name.startswith(("validation_", "test_"))
    return name if named else f"test_{name}"


_METRICS: dict[str, tuple[tuple[str, Mode], ...]] = {
    "accuracy": (("accuracy", "max"),),
    "personal_accuracy": (("personal_accuracy", "max"),),
    "accuracy_at_upload": (("accuracy_at_upload", "max"),),
    "time_to_accuracy": (("time_to_accuracy_s", "min"),),
    "pareto": (("accuracy", "max"), (_UPLOAD_METRIC, "min")),
}


def _parse_limit(text: str, kind: str, limit: str) -> float:
    try:
        value = parse_bytes(limit) if kind == "accuracy_at_upload" else float(limit)
    except ValueError as error:
        raise RequestError("--objective", text, f"{limit!r} is not a number", f"choose {_FORMS}") from error
    if not (isfinite(value) and value > 0):
        raise RequestError("--objective", text, "the limit must be above 0", "give a limit above 0")
    if kind == "time_to_accuracy" and value > 1:
        raise RequestError("--objective", text, "accuracy is a fraction, at most 1", "write 0.9 for 90 %")
    return value
