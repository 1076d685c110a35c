"""Delivers a whole sweep to MLflow: the sweep as parent run, and each trial as child run."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, final

from orchestrator.errors import TrackingError
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord, RunInfo
from orchestrator.tracking.tracker import Status

if TYPE_CHECKING:
    from mlflow import MlflowClient


#: seconds between two deliveries of the rounds of a running trial
INTERVAL_S = 2.0


@final
class SweepSink:
    """Has one sink for the sweep, and one sink for each trial that is not yet delivered.

    An unreachable store delays nothing. The sink of a run retries at the next call for this run. At the end, `close`
    retries for all runs together, for at most `flush_timeout_s`.
    """

    def __init__(
        self,
        client_factory: Callable[[str], "MlflowClient"] = connect,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`client_factory` opens the store at a URI, once per URI; `clock` and `sleep` use seconds.

        The sink sends the rounds of a run `interval_s` after the last delivery, and at the end of the run, because each
        batch costs a commit of the database, independent of its number of rounds.
        """
        self._client_factory, self._interval_s = client_factory, interval_s
        self._clock, self._sleep = clock, sleep
        self._sent_at: dict[str, float] = {}
        self._clients: dict[str, MlflowClient] = {}
        self._sweep: MlflowSink | None = None
        self._parent_id: str | None = None
        self._runs: dict[str, MlflowSink] = {}
        self._flush_timeout_s = 0.0
        self._resumption: str | None = None

    def open(self, info: RunInfo) -> str:
        """Open the sweep's MLflow run and return its id. Raises TrackingError when the store rejects the run."""
        self._sweep, self._flush_timeout_s = self._sink(), info.flush_timeout_s
        self._resumption = info.resumption
        self._sweep.start(info)
        outcome = self._sweep.outcome()
        if outcome.mlflow_run_id is None:
            raise TrackingError(outcome.problem or "MLflow did not accept the sweep")
        self._parent_id = outcome.mlflow_run_id
        return self._parent_id

    def start(self, info: RunInfo) -> None:
        """Start tracking a trial's run, as a child of the sweep's run."""
        assert self._parent_id is not None, "call open() first"
        tags = {**info.tags, "mlflow.parentRunId": self._parent_id}
        child = replace(info, tags=tags, resumption=self._resumption)
        self._runs[info.run_id] = self._sink()
        self._runs[info.run_id].start(child)
        self._sent_at[info.run_id] = self._clock()

    def advance(self, run_id: str, round_idx: int) -> None:
        """Log that a trial has committed all rounds up to `round_idx`."""
        if self._clock() - self._sent_at[run_id] >= self._interval_s:
            self._sent_at[run_id] = self._clock()
            self._runs[run_id].log(RoundRecord(round_idx, 0, {}))

    def end(self, run_id: str, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Deliver a trial's run that has ended and whose folder is complete."""
        sink = self._runs[run_id]
        sink.end(status, summary)
        if sink.outcome().problem is None:
            del self._runs[run_id]

    def log(self, record: RoundRecord) -> None:
        """Log a line of the sweep's own `metrics.jsonl`."""
        assert self._sweep is not None, "call open() first"
        self._sweep.log(record)

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Deliver the sweep, which has ended and whose folder is complete."""
        assert self._sweep is not None, "call open() first"
        self._sweep.end(status, summary)

    def close(self) -> str | None:
        """Deliver the rest. Returns None on success, else what is missing and the remedy."""
        sinks = [*self._runs.values(), *([self._sweep] if self._sweep is not None else [])]
        problems = []
        remaining_s = self._flush_timeout_s
        for sink in sinks:
            outcome, waited_s = sink.close_within(remaining_s)
            remaining_s = max(0.0, remaining_s - waited_s)
            if outcome.problem:
                problems.append(outcome.problem)
        if len(problems) > 1:
            problems[0] += f" ({len(problems) - 1} more runs of the sweep are incomplete)"
        return problems[0] if problems else None

    def abandon(self, timeout_s: float) -> None:
        """Mark the sweep and its runs that have not ended as killed, and deliver nothing else."""
        for sink in [*([self._sweep] if self._sweep is not None else []), *self._runs.values()]:
            sink.abandon(timeout_s)

    def _sink(self) -> MlflowSink:
        return MlflowSink(self._client, clock=self._clock, sleep=self._sleep)

    def _client(self, uri: str) -> "MlflowClient":
        if uri not in self._clients:
            self._clients[uri] = self._client_factory(uri)
        return self._clients[uri]
