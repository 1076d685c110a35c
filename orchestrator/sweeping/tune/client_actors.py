"""The client actors of a trial's process, which the next trial reuses if it reserves the same resources."""

import os
from typing import Any, final

import ray

from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import (
    START_S,
    end_actors,
    reservation,
    start_actors,
    wait_for_actors,
)
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import SharedSamples, share
from orchestrator.experiment.experiment import Experiment


@final
class TrialClients:
    """Starts the client actors inside the trial's placement group, and ends them."""

    def __init__(self, owner: str) -> None:
        """`owner` is the first part of the actors' names."""
        self._prefix = f"{owner}/{os.getpid()}"
        self._actors: tuple[str, list[Any]] | None = None

    def executor(
        self, experiment: Experiment, samples: SharedSamples | None, placement: Placement | None
    ) -> Executor:
        """Return the executor of a trial; `placement` None trains the clients in this process.

        `samples` None shares the experiment's own samples. Raises ActorsLostError when an actor does not start.
        """
        if placement is None:
            return InProcessExecutor(experiment)
        cores = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
        shared = share(experiment, samples)
        actors = self._actors_for(experiment, placement)
        return RayExecutor(experiment, shared, placement, actors, num_cores=max(1, int(cores)))

    def end(self) -> None:
        """End the actors; without actors, do nothing."""
        if self._actors is not None:
            actors, self._actors = self._actors[1], None
            end_actors(actors)

    def _actors_for(self, experiment: Experiment, placement: Placement) -> list[Any]:
        """Return the actors of the last trial if it reserved the same resources, else new actors."""
        profiles = experiment.setting.profiles
        wanted = repr([(name, reservation(profiles[index])) for name, index in placement.actors])
        if self._actors is not None and self._actors[0] == wanted:
            return self._actors[1]
        self.end()
        self._actors = wanted, start_actors(profiles, placement, self._prefix)
        wait_for_actors(self._actors[1], START_S)
        return self._actors[1]
