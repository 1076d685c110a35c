"""The one writer of a sweep: MLflow follows the sweep's own folder and each of its trials' runs."""

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


#: how often a run's rounds are sent while it goes on
INTERVAL_S = 2.0


@final
class SweepSink:
    """A sink for the sweep, which is the parent, and one for each trial that is not yet delivered.

    A store that is away holds nothing up: what was not delivered of a run is tried again with the next call for it,
    and at the end, when `close` insists for `flush_timeout_s`, for all together.
    """

    def __init__(
        self,
        client_factory: Callable[[str], "MlflowClient"] = connect,
        *,
        interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`client_factory` opens the store at a URI, and is asked once; `clock` and `sleep` are in seconds.

        A run's rounds are sent when `interval_s` have passed since its last ones were, and when it ends: a batch costs
        a commit of the database, however many rounds are in it.
        """
        self._client_factory, self._interval_s = client_factory, interval_s
        self._clock, self._sleep = clock, sleep
        self._sent_at: dict[str, float] = {}
        self._clients: dict[str, MlflowClient] = {}
        self._sweep: MlflowSink | None = None
        self._parent_id: str | None = None
        self._runs: dict[str, MlflowSink] = {}
        self._flush_timeout_s, self._resumption = 0.0, ""

    def open(self, info: RunInfo) -> str:
        """Open the sweep's own MLflow run, and return its id. Raises TrackingError when the store does not take it."""
        self._sweep, self._flush_timeout_s = self._sink(), info.flush_timeout_s
        self._resumption = f"sparsefleet sweep {info.run_id} --resume"
        self._sweep.start(replace(info, resumption=self._resumption))
        outcome = self._sweep.outcome()
        if outcome.mlflow_run_id is None:
            raise TrackingError(outcome.problem or "MLflow did not take the sweep")
        self._parent_id = outcome.mlflow_run_id
        return self._parent_id

    def start(self, info: RunInfo) -> None:
        """Follow a trial's run, as a child of the sweep's."""
        assert self._parent_id is not None, "open comes first"
        tags = {**info.tags, "mlflow.parentRunId": self._parent_id}
        child = replace(info, tags=tags, resumption=self._resumption)
        self._runs[info.run_id] = self._sink()
        self._runs[info.run_id].start(child)
        self._sent_at[info.run_id] = self._clock()

    def advance(self, run_id: str, round_idx: int) -> None:
        """A trial has committed this round and those before it."""
        if self._clock() - self._sent_at[run_id] >= self._interval_s:
            self._sent_at[run_id] = self._clock()
            self._runs[run_id].log(RoundRecord(round_idx, 0, {}))

    def end(self, run_id: str, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """A trial's run has ended and its folder is complete."""
        sink = self._runs[run_id]
        sink.end(status, summary)
        if sink.outcome().problem is None:
            del self._runs[run_id]

    def log(self, record: RoundRecord) -> None:
        """A line of the sweep's own `metrics.jsonl`."""
        assert self._sweep is not None, "open comes first"
        self._sweep.log(record)

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """The sweep has ended and its folder is complete."""
        assert self._sweep is not None, "open comes first"
        self._sweep.end(status, summary)

    def close(self) -> str | None:
        """Deliver what is left; None when all is there, else what is missing and the remedy."""
        sinks = [*self._runs.values(), *([self._sweep] if self._sweep is not None else [])]
        problems = []
        patience_s = self._flush_timeout_s
        for sink in sinks:
            outcome, waited_s = sink.close_within(patience_s)
            patience_s = max(0.0, patience_s - waited_s)
            if outcome.problem:
                problems.append(outcome.problem)
        if len(problems) > 1:
            problems[0] += f" (and so with {len(problems) - 1} more runs of the sweep)"
        return problems[0] if problems else None

    def _sink(self) -> MlflowSink:
        return MlflowSink(self._client, clock=self._clock, sleep=self._sleep)

    def _client(self, uri: str) -> "MlflowClient":
        if uri not in self._clients:
            self._clients[uri] = self._client_factory(uri)
        return self._clients[uri]
