"""Training tasks that outlive their round, in the form in which a checkpoint stores them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.federation.plan import ClientTask

_TASK_FIELDS = {"round_idx": int, "position": int, "client_id": int, "score": bool, "repeat": int}
_OWN_FIELDS = {"start_s": float, "download_bytes": int, "number": int}
_OPTIONAL = ("number", "repeat")


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightTask:
    """A training task that outlives its round, with everything that a resumed run needs to run the task again.

    `task.round_idx` is the round of the model from which the task trains. The download starts at emulated time
    `start_s` and moves `download_bytes`. `number` counts all tasks of an asynchronous run.
    """

    task: ClientTask
    start_s: float
    download_bytes: int
    number: int = 0

    def to_dict(self) -> dict[str, Any]:
        """One flat JSON object."""
        of_task = {name: getattr(self.task, name) for name in _TASK_FIELDS}
        return of_task | {name: getattr(self, name) for name in _OWN_FIELDS}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "InFlightTask":
        """The task of `to_dict`. Raises TypeError for a missing or unknown field, or a value of another type."""
        types = _TASK_FIELDS | _OWN_FIELDS
        if unknown := [name for name in content if name not in types]:
            raise TypeError(f"unknown field {unknown[0]!r} of a task in flight")
        for name, wanted in types.items():
            if name not in content and name not in _OPTIONAL:
                raise TypeError(f"a task in flight has no field {name!r}")
            value = content.get(name, 0)
            if type(value) is not wanted and not (wanted is float and type(value) is int):
                raise TypeError(f"{name}={value!r:.60} of a task in flight is no {wanted.__name__}")
        own = {name: content[name] for name in _OWN_FIELDS if name in content}
        return cls(task=ClientTask(**{n: content[n] for n in _TASK_FIELDS if n in content}), **own)
