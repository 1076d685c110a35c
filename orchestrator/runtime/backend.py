"""The interface between a session and the process that executes the run, and the backend for this process."""

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
    """Starts and controls the driver of one run. The driver may be in this process or in an actor."""

    description: str

    def tracker(self) -> Tracker:
        """Return a tracker that does not delay the rounds."""

    def ready(self) -> None:
        """Wait until clients can train. Raises the error that prevents them from training."""

    def records(self) -> Iterator[RoundRecord]:
        """Run the remaining rounds, and yield the record of each round after its checkpoint is durable."""

    def stop(self) -> None:
        """Ask the driver to stop after the round in progress. Signal handlers may call this method."""

    def params_sha256(self) -> str:
        """Return the SHA-256 digest of the global parameters after the last completed round."""

    def close(self) -> None:
        """End all actors and release their resources."""


@final
class InProcessBackend:
    """Runs driver, clients and tracker in this process; other backends must give the same results."""

    def __init__(self, experiment: Experiment, run_dir: Path) -> None:
        self._tracked = experiment.config.tracking.enabled
        self._executor = InProcessExecutor(experiment)
        store = RunStore(run_dir)
        self._driver = Driver(experiment, self._executor, store)
        self.description = "; ".join((self._executor.description, *store.damage_notes))

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
