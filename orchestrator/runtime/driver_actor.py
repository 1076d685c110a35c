"""The Ray shell around Driver: it starts the client actors and streams each round's record."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

import ray
import torch

from orchestrator.runtime.driver import Driver
from orchestrator.runtime.placement import Capacity, place
from orchestrator.runtime.ray_executor import (
    RayExecutor,
    end_actors,
    start_actors,
    task_retries,
    wait_for_actors,
)
from orchestrator.runtime.ray_sharing import SharedExperiment
from orchestrator.runtime.store import RunStore
from orchestrator.tracking.record import RoundRecord


@final
class DriverActor:
    """Drives one run: `open` first; `stop` may be called while `run` is in progress."""

    def open(self, shared: SharedExperiment, run_dir: str) -> str:
        """Restore the run, start the client actors, and say how the clients are embodied and why so."""
        experiment = shared.get()
        store, capacity = RunStore(Path(run_dir)), cluster_capacity()
        placement = place(
            experiment.config.runtime,
            capacity,
            experiment.setting.population,
            experiment.config.training.clients_per_round,
        )
        self._clients = start_actors(
            experiment.setting.profiles,
            placement,
            store.run_id,
            retries=task_retries(experiment.config.runtime),
        )
        self._executor = RayExecutor(
            experiment, shared, placement, self._clients, num_cores=capacity.num_cores
        )
        self._driver = Driver(experiment, self._executor, store)
        return self._executor.description

    def ready(self) -> None:
        """Wait until every client actor is up."""
        wait_for_actors(self._clients)

    def run(self) -> Iterator[RoundRecord]:
        """Yield each round's record once it is committed."""
        torch.set_num_threads(1)
        yield from self._driver.run()

    def params_sha256(self) -> str:
        """Digest of the global parameters after the last completed round."""
        return self._driver.params_sha256()

    def stop(self) -> None:
        """End after the round in progress."""
        self._driver.stop()

    def close(self) -> None:
        """Stop the client actors."""
        end_actors(self._clients)


def cluster_capacity() -> Capacity:
    """What the alive nodes of the connected cluster offer."""
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return Capacity(tuple(node["Resources"] for node in nodes if node["Alive"]))
