"""The Ray actor around Driver: it runs the rounds one by one on the run's client actors."""

import platform
from pathlib import Path
from typing import final

import ray
import torch

from orchestrator.aggregation.ray_aggregators import RayAggregators
from orchestrator.aggregation.shard_placement import AGGREGATION_NOTE
from orchestrator.errors import ConfigError
from orchestrator.execution.fault_injection import DriverFaultInjector
from orchestrator.execution.ray_actors import wait_for_actors
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import SharedExperiment
from orchestrator.rounds.driver import Driver
from orchestrator.runtime.ray_workers import Workers
from orchestrator.storage.event_log import num_committed
from orchestrator.storage.folders import is_run
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord

#: concurrency group of the method that runs rounds; the actor serves its other methods meanwhile
ROUNDS = "rounds"


@final
class DriverActor:
    """Drives one run. Call `open` first; `stop` may be called while `advance` runs."""

    def open(self, shared: SharedExperiment, run_dir: str, workers: Workers) -> str:
        """Restore the run, and return a text that says how clients are placed and why.

        Raises ConfigError when this node cannot see the run's folder.
        """
        experiment = shared.get()
        require_visible(Path(run_dir))
        # The driver keeps this lock until its process ends. Its command may be killed, and a new command may start a
        # second driver for the same run.
        self._lock = locked_folder(Path(run_dir), "driver.lock", patience_s=30.0)
        self._lock.__enter__()
        store, aggregation = RunStore(Path(run_dir)), workers.aggregation
        aggregators = None
        if aggregation.count:
            aggregators = RayAggregators(experiment, shared, workers.aggregators)
        self._actors = workers.actors
        self._executor = RayExecutor(
            experiment,
            shared,
            workers.placement,
            workers.clients,
            num_cores=workers.num_cores,
            store=None if aggregators is None else aggregators.store,
        )
        self._driver = Driver(experiment, self._executor, store, aggregators=aggregators)
        if is_run(store.folder):
            store.describe_again({**store.about(), AGGREGATION_NOTE: str(aggregation)})
        self._rounds = self._driver.run()
        self._num_done = num_committed(store.folder)
        self._fault_injector = DriverFaultInjector(experiment.config, store.folder)
        notes = (str(aggregation),) if aggregation.is_notable else ()
        return "; ".join((self._executor.description, *notes, *store.damage_notes))

    def ready(self, timeout_s: float | None = None) -> None:
        """Wait until every client actor and aggregator runs. Raises ActorsLostError after the timeout."""
        wait_for_actors(self._actors, timeout_s)

    @ray.method(concurrency_group=ROUNDS)
    def advance(self) -> RoundRecord | None:
        """Run the next round, commit it and return its record; return None if no round is left.

        The caller may make several calls ahead, which the actor serves one after another. A streaming method would
        do the same, but Ray Client does not support streaming methods.
        """
        torch.set_num_threads(1)
        self._fault_injector.strike(self._num_done)
        record = next(self._rounds, None)
        if record is not None:
            self._num_done = record.round_idx + 1
        return record

    def params_sha256(self) -> str:
        """Return the SHA-256 digest of the global parameters after the last completed round."""
        return self._driver.params_sha256()

    def stop(self) -> None:
        """Stop after the round in progress."""
        self._driver.stop()


def require_visible(run_dir: Path) -> None:
    """Raise ConfigError when the driver's node cannot see the run's folder, which the command has created."""
    if not run_dir.is_dir():
        raise ConfigError(
            "runtime.storage",
            run_dir.parent,
            f"the driver runs on node {platform.node()}, which does not see this folder",
            "choose a folder that the nodes and this machine share under one path",
        )
