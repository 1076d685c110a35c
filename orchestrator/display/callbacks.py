"""Callbacks of a run: functions of the user that get each round's metrics and the result."""

from collections.abc import Mapping, Sequence
from typing import Protocol, final

from orchestrator.results.run_result import RunResult
from orchestrator.runtime.run_execution import Display
from orchestrator.tracking.record import RoundRecord


class RunCallback(Protocol):
    """Gets the metrics and the result of a run, in the process and thread that called `run`.

    An exception of a callback ends the run like any other error; `resume` continues the run.
    """

    def on_round(self, round_idx: int, metrics: Mapping[str, float]) -> None:
        """Called after each round (0-based) is committed; `metrics` has the names of `RunResult.to_dataframe`."""

    def on_end(self, result: RunResult) -> None:
        """Called once when the run has ended or was interrupted, but not when it failed."""


@final
class CallbackDisplay:
    """A display that also calls the callbacks after each round; see Display."""

    def __init__(self, display: Display, callbacks: Sequence[RunCallback]) -> None:
        self._display, self._callbacks = display, callbacks

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """See Display."""
        self._display.start(name, num_rounds, first_round)

    def update(self, record: RoundRecord) -> None:
        """See Display."""
        self._display.update(record)
        for callback in self._callbacks:
            callback.on_round(record.round_idx, record.metrics)

    def note(self, text: str) -> None:
        """See Display."""
        self._display.note(text)

    def stop(self) -> None:
        """See Display."""
        self._display.stop()

    def end(self, result: RunResult) -> RunResult:
        """Call the callbacks with the result, and return the result."""
        for callback in self._callbacks:
            callback.on_end(result)
        return result
