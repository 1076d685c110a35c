"""What a session needs of the place where a run executes, and the reference: this process."""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, final

from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.mlflow.sink import MlflowSink
from orchestrator.tracking.record import RoundRecord
from orchestrator.tracking.tracker import NullTracker, ThreadTracker, Tracker


class Backend(Protocol):
    """One run's driver, wherever it lives."""

    description: str

    def tracker(self) -> Tracker:
        """A tracker whose work is not on the round's path."""

    def ready(self) -> None:
        """Wait until clients can train; raises what kept them from it."""

    def records(self) -> Iterator[RoundRecord]:
        """Each round's record, once it is committed."""

    def stop(self) -> None:
        """Ask for an end after the round in progress; safe in a signal handler."""

    def params_sha256(self) -> str:
        """Digest of the global parameters after the last completed round."""

    def close(self) -> None:
        """Release actors and processes."""


@final
class InProcessBackend:
    """Driver, clients and tracker in this process."""

    def __init__(self, experiment: Experiment, run_dir: Path) -> None:
        self._tracked = experiment.config.tracking.enabled
        self._executor = InProcessExecutor(experiment)
        store = RunStore(run_dir)
        self._driver = Driver(experiment, self._executor, store)
        self.description = "; ".join(filter(None, (self._executor.description, store.skipped_checkpoint)))

    def tracker(self) -> Tracker:
        """See Backend."""
        return ThreadTracker(MlflowSink()) if self._tracked else NullTracker()

    def ready(self) -> None:
        """See Backend."""

    def records(self) -> Iterator[RoundRecord]:
        """See Backend."""
        return self._driver.run()

    def stop(self) -> None:
        """See Backend."""
        self._driver.stop()

    def params_sha256(self) -> str:
        """See Backend."""
        return self._driver.params_sha256()

    def close(self) -> None:
        """See Backend."""
        self._executor.close()
