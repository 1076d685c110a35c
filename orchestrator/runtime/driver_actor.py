"""The Ray shell around Driver: it starts the client actors and advances the run round by round."""

import platform
from pathlib import Path
from typing import final

import ray
import torch

from orchestrator.errors import ConfigError
from orchestrator.execution.fault_injection import DriverFaultInjector
from orchestrator.execution.placement import place
from orchestrator.execution.ray_actors import start_actors, wait_for_actors
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import SharedExperiment
from orchestrator.rounds.driver import Driver
from orchestrator.storage.event_log import num_committed
from orchestrator.storage.lock import locked_folder
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord

#: the thread in which an actor runs rounds; its other methods are served beside it
ROUNDS = "rounds"


@final
class DriverActor:
    """Drives one run: `open` first; `stop` may be called while `advance` is in progress."""

    def open(self, shared: SharedExperiment, run_dir: str) -> str:
        """Restore the run, start the client actors, and say how the clients are embodied and why so.

        Raises ConfigError when this node does not see the run's folder.
        """
        experiment = shared.get()
        require_visible(Path(run_dir))
        self._hold = locked_folder(Path(run_dir), "driver.lock", patience_s=30.0)
        self._hold.__enter__()  # for this process's life: its command may be gone, and another one have come
        store, capacity = RunStore(Path(run_dir)), cluster_capacity()
        placement = place(
            experiment.config.runtime,
            capacity,
            experiment.setting.population,
            experiment.config.training.clients_per_round,
        )
        self._clients = start_actors(experiment.setting.profiles, placement, store.run_id)
        self._executor = RayExecutor(
            experiment, shared, placement, self._clients, num_cores=capacity.num_cores
        )
        self._driver = Driver(experiment, self._executor, store)
        self._rounds = self._driver.run()
        self._num_done = num_committed(store.folder)
        self._chaos = DriverFaultInjector(experiment.config, store.folder)
        return "; ".join(filter(None, (self._executor.description, store.skipped_checkpoint)))

    def ready(self, timeout_s: float | None = None) -> None:
        """Wait until every client actor is up. Raises ActorsLostError when one is not within the time."""
        wait_for_actors(self._clients, timeout_s)

    @ray.method(concurrency_group=ROUNDS)
    def advance(self) -> RoundRecord | None:
        """Run until another round is committed, and return its record; None when there is none left.

        Calls may be made ahead: they are served one after another. Ray Client knows no streaming methods, which
        would do the same.
        """
        torch.set_num_threads(1)
        self._chaos.strike(self._num_done)
        record = next(self._rounds, None)
        if record is not None:
            self._num_done = record.round_idx + 1
        return record

    def params_sha256(self) -> str:
        """Digest of the global parameters after the last completed round."""
        return self._driver.params_sha256()

    def stop(self) -> None:
        """End after the round in progress."""
        self._driver.stop()


def require_visible(run_dir: Path) -> None:
    """Raise ConfigError when the driver's node does not see the folder that the command has made for the run."""
    if not run_dir.is_dir():
        raise ConfigError(
            "runtime.storage",
            run_dir.parent,
            f"node {platform.node()}, on which the driver runs, does not see it",
            "choose a folder that the nodes and this machine share under one path",
        )
