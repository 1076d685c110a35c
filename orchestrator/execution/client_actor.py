"""The Ray actor that runs client tasks with ClientRunner."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from orchestrator.execution.bundles.runner import BundleRunner
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.client_device import limit_gpu_memory
from orchestrator.execution.fault_injection import client_runner
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate, Outcome

if TYPE_CHECKING:
    from orchestrator.execution.executor import TaskRequest
    from orchestrator.execution.ray_sharing import SharedExperiment

_NO_BYTES = np.empty(0, np.uint8)


@final
class ClientActor:
    """Runs the tasks of one client (dedicated) or of any client of its profile (pooled).

    The actor contains only caches, and every task names its experiment. So a restarted actor has nothing to restore.
    `ray_actors.start_actors` makes this class remote and reserves the profile's footprint.
    """

    def __init__(self, num_gpus: float = 0.0) -> None:
        """`num_gpus` is the reserved number or share of GPUs; it limits the GPU memory of this process."""
        limit_gpu_memory(num_gpus)
        self._current: tuple[SharedExperiment, ClientRunner, BundleRunner] | None = None

    def run(
        self,
        shared: "SharedExperiment",
        task: ClientTask,
        broadcast: NDArray[np.uint8],
        unicast: NDArray[np.uint8],
        client_state: Any,
    ) -> Outcome[Any]:
        """Run one task of an experiment."""
        return self._runner_of(shared).run(task, broadcast, unicast, client_state)

    def run_and_store(
        self,
        shared: "SharedExperiment",
        task: ClientTask,
        broadcast: NDArray[np.uint8],
        unicast: NDArray[np.uint8],
        client_state: Any,
    ) -> tuple[Outcome[Any], NDArray[np.uint8]]:
        """Run one task; return its outcome without the encoded payload, and the payload, uint8[n].

        Both results become objects of Ray, so that the driver can read the first without the second.
        """
        return _split(self.run(shared, task, broadcast, unicast, client_state))

    def run_bundle(
        self,
        shared: "SharedExperiment",
        requests: tuple["TaskRequest", ...],
        broadcast: NDArray[np.uint8],
    ) -> tuple[Outcome[Any], ...]:
        """Run the tasks of a bundle, which train together where that is possible; their outcomes, in order."""
        self._runner_of(shared)
        assert self._current is not None
        return self._current[2].run(requests, broadcast)

    def run_bundle_and_store(
        self,
        shared: "SharedExperiment",
        requests: tuple["TaskRequest", ...],
        broadcast: NDArray[np.uint8],
    ) -> tuple[Any, ...]:
        """As `run_bundle`; return the tuple of outcomes without the payloads, and then each payload, uint8[n]."""
        pairs = [_split(outcome) for outcome in self.run_bundle(shared, requests, broadcast)]
        return tuple(outcome for outcome, _ in pairs), *(payload for _, payload in pairs)

    def _runner_of(self, shared: "SharedExperiment") -> ClientRunner:
        if self._current is None or self._current[0].recipe != shared.recipe:
            self._current = None  # frees the old experiment before the new one is loaded
            experiment = shared.get()
            runner = client_runner(experiment)
            self._current = shared, runner, BundleRunner(experiment, runner)
        return self._current[1]


def _split(outcome: Outcome[Any]) -> tuple[Outcome[Any], NDArray[np.uint8]]:
    """An outcome without its encoded payload, and the payload, uint8[n]; no bytes for a score or a failure."""
    if not isinstance(outcome, ClientUpdate):
        return outcome, _NO_BYTES
    return replace(outcome, buffer=_NO_BYTES), outcome.buffer
