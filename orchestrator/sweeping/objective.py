"""Objectives of a sweep: the goals that it optimises, computed from the records of a trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal

from orchestrator.analysis.measures import cost_to_reach, final_value, total, value_at_cap
from orchestrator.errors import RequestError
from orchestrator.formatting import parse_bytes
from orchestrator.tracking.record import RoundRecord

Mode = Literal["max", "min"]
ACCURACY, PERSONAL, UPLOAD, TIME = (
    "eval/accuracy",
    "personal/accuracy_mean",
    "comm/upload_bytes_total",
    "time/emulated_s_total",
)
_FORMS = "accuracy, personal_accuracy, accuracy_at_upload=BYTES, time_to_accuracy=ACCURACY or pareto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A number to optimise; `mode` says whether the sweep maximises or minimises the number."""

    name: str
    mode: Mode

    def key(self, value: float) -> float:
        """Sort key for ascending order: the best value has the smallest key."""
        return -value if self.mode == "max" else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A parsed objective.

    `text` is the objective as the user wrote it. `limit` is the number of bytes or the accuracy in `text`, and None
    for an objective without a limit.
    """

    text: str
    kind: str
    limit: float | None
    goals: tuple[Goal, ...]

    @classmethod
    def parse(cls, text: str) -> "Objective":
        """Parse the text of `--objective`. Raises RequestError for an unknown form and for an invalid limit."""
        kind, equals, limit = text.partition("=")
        goals = _GOALS.get(kind)
        wants_limit = kind in ("accuracy_at_upload", "time_to_accuracy")
        if goals is None or bool(equals) != wants_limit:
            raise RequestError("--objective", text, "this objective does not exist", f"choose {_FORMS}")
        value = _parse_limit(text, kind, limit) if wants_limit else None
        return cls(text=text, kind=kind, limit=value, goals=goals)

    @property
    def is_known_early(self) -> bool:
        """Whether the value of a running trial predicts its final value.

        A scheduler may stop trials only by such an objective.
        """
        return len(self.goals) == 1 and self.kind != "time_to_accuracy"

    def measure(self, records: Sequence[RoundRecord]) -> dict[str, float]:
        """Return the value of each goal after these records; a missing or non-finite accuracy counts as 0.

        - `accuracy_at_upload`: accuracy of the last evaluated round whose cumulative upload is within the limit; 0
          before such a round.
        - `time_to_accuracy`: emulated seconds until the accuracy is reached (`measures.cost_to_reach`); infinite
          before that.
        """
        if self.kind == "time_to_accuracy":
            assert self.limit is not None
            reached = cost_to_reach(records, ACCURACY, TIME, self.limit)
            return {"time_to_accuracy_s": inf if reached is None else reached}
        if self.kind == "accuracy_at_upload":
            assert self.limit is not None
            return {"accuracy_at_upload": value_at_cap(records, ACCURACY, UPLOAD, self.limit) or 0.0}
        if self.kind == "personal_accuracy":
            return {"personal_accuracy": final_value(records, PERSONAL) or 0.0}
        values = {"accuracy": final_value(records, ACCURACY) or 0.0}
        if self.kind == "pareto":
            values["upload_bytes"] = total(records, UPLOAD) or 0.0
        return values


_GOALS: dict[str, tuple[Goal, ...]] = {
    "accuracy": (Goal(name="accuracy", mode="max"),),
    "personal_accuracy": (Goal(name="personal_accuracy", mode="max"),),
    "accuracy_at_upload": (Goal(name="accuracy_at_upload", mode="max"),),
    "time_to_accuracy": (Goal(name="time_to_accuracy_s", mode="min"),),
    "pareto": (Goal(name="accuracy", mode="max"), Goal(name="upload_bytes", mode="min")),
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
