"""Delivers a run to MLflow exactly once, also when the server is slow, unreachable or killed in between."""

import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, final

from orchestrator.commands import resume_line
from orchestrator.errors import CheckpointError
from orchestrator.formatting import counted
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.errors import is_rejection, reason
from orchestrator.tracking.mlflow.follower import MlflowFollower
from orchestrator.tracking.record import RoundRecord, RunInfo, complete_lines
from orchestrator.tracking.tracker import Status, TrackingOutcome
from orchestrator.tracking.uris import public_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

_LOG = logging.getLogger(__name__)
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0


@final
class MlflowSink:
    """A blocking Tracker over MlflowClient; it runs in its own thread or actor, so that it does not delay rounds.

    The sink sends a line of `metrics.jsonl` when `log` says that the round is committed, or when the run has finished.
    When the store fails, the sink logs one warning, and later calls retry. The wait between two attempts doubles, and
    returns to its first value when an attempt has delivered something. `finish` and `close` retry for
    `flush_timeout_s`. Only an unreadable `metrics.jsonl` or `tracking.json` raises an error (CheckpointError).
    """

    def __init__(
        self,
        client_factory: Callable[[str], "MlflowClient"] = connect,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`client_factory` opens the store at a URI; `clock` and `sleep` use seconds."""
        self._client_factory, self._clock, self._sleep = client_factory, clock, sleep
        self._info: RunInfo | None = None
        self._follower: MlflowFollower | None = None
        self._last_committed = -1.0
        self._ending: tuple[Status, Mapping[str, float | int | str]] | None = None
        self._error: Exception | None = None
        self._wait_s, self._retry_at = _FIRST_WAIT_S, -math.inf
        self._gave_up = False
        self._progress = 0

    def start(self, info: RunInfo) -> None:
        """Open the MLflow run; a run that was tracked before gets its earlier MLflow run."""
        self._info = info
        self._follower = MlflowFollower(info, self._client_factory)
        self._attempt()

    def log(self, record: RoundRecord) -> None:
        """Deliver the undelivered lines of `metrics.jsonl` up to this round."""
        self._last_committed = record.round_idx
        if self._clock() >= self._retry_at:
            self._attempt()

    def finish(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Deliver the rest of the metrics, the artifacts and the model, and set the final status."""
        assert self._info is not None, "call start() first"
        self._last_committed, self._ending = math.inf, (status, summary)
        self._retry_until_delivered(self._info.flush_timeout_s)

    def end(self, status: Status, summary: Mapping[str, float | int | str]) -> None:
        """Like `finish`, but without waiting for an unreachable store; `close` or `close_within` retries."""
        self._last_committed, self._ending = math.inf, (status, summary)
        if self._clock() >= self._retry_at:
            self._attempt()

    def close(self) -> TrackingOutcome:
        """Deliver the rest, and return what did not arrive."""
        return self.close_within(0.0 if self._info is None else self._info.flush_timeout_s)[0]

    def close_within(self, patience_s: float) -> tuple[TrackingOutcome, float]:
        """Like `close` with its own time limit; also returns the seconds spent waiting for an unreachable store."""
        waited_s = 0.0
        if self._follower is not None and not self._gave_up:
            waited_s = self._retry_until_delivered(patience_s)
        return self.outcome(), waited_s

    def abandon(self, timeout_s: float) -> None:
        """Mark the MLflow run as killed with one request. The caller limits the time: a request may hang."""
        if self._follower is not None:
            with suppress(Exception):  # errors of MLflow, requests, SQLAlchemy or the system
                self._follower.mark_killed()

    def outcome(self) -> TrackingOutcome:
        """Return what has arrived until now."""
        if self._follower is None:
            return TrackingOutcome(None, 0, None)
        problems = [*self._follower.problems, *self._undelivered()]
        delivery = self._follower.delivery
        return TrackingOutcome(delivery.mlflow_run_id, delivery.num_delivered, "; ".join(problems) or None)

    def _retry_until_delivered(self, patience_s: float) -> float:
        """Retry until everything is delivered or `patience_s` is over; returns the seconds after the first failure."""
        started_s = last_failed_s = self._clock()
        deadline = started_s + patience_s
        while not self._attempt():
            last_failed_s = self._clock()
            wait_s = min(self._retry_at, deadline) - last_failed_s
            if wait_s <= 0 or is_rejection(self._error):
                self._gave_up = True
                break
            self._sleep(wait_s)
            last_failed_s = self._clock()
        return last_failed_s - started_s

    def _attempt(self) -> bool:
        """Deliver everything that is outstanding; returns False when the store failed."""
        assert self._follower is not None, "call start() first"
        try:
            self._follower.open()
            self._follower.send_records(self._last_committed)
            try:  # a failing artifact store blocks neither the records nor the status
                self._follower.send_first_artifacts()
            finally:
                if self._ending is not None:
                    self._follower.send_end(*self._ending)
                    self._ending = None
        except CheckpointError:
            raise
        except Exception as error:  # errors of MLflow, requests, SQLAlchemy or the system
            self._failed(error)
            return False
        self._error, self._wait_s, self._retry_at = None, _FIRST_WAIT_S, -math.inf
        return True

    def _failed(self, error: Exception) -> None:
        if self._error is None:
            _LOG.warning("%s: %s; the run continues and keeps its metrics", self._where(), reason(error))
        self._error = error
        if self._follower is not None and self._follower.progress != self._progress:
            self._progress, self._wait_s = self._follower.progress, _FIRST_WAIT_S
        self._retry_at = self._clock() + self._wait_s
        self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)

    def _where(self) -> str:
        assert self._info is not None, "call start() first"
        return f"MLflow at {public_uri(self._info.uri)}"

    def _undelivered(self) -> list[str]:
        if self._error is None or self._info is None or self._follower is None:
            return []
        num_rounds = len(complete_lines(Path(self._info.run_dir) / "metrics.jsonl"))
        return [
            f"{self._where()} is incomplete ({reason(self._error)}): it has "
            f"{self._follower.delivery.num_delivered} of {counted(num_rounds, 'round')}, and {self._info.run_dir} has "
            f"all; to deliver the rest, run `{self._info.resumption or resume_line(self._info.run_dir)}`"
        ]
