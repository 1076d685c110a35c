"""The Ray actor that runs client tasks with ClientRunner."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from orchestrator.execution.client import ClientRunner
from orchestrator.execution.client_device import limit_gpu_memory
from orchestrator.execution.fault_injection import client_runner
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate, Outcome

if TYPE_CHECKING:
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
        self._current: tuple[SharedExperiment, ClientRunner] | None = None

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
        outcome = self.run(shared, task, broadcast, unicast, client_state)
        if not isinstance(outcome, ClientUpdate):
            return outcome, _NO_BYTES
        return replace(outcome, buffer=_NO_BYTES), outcome.buffer

    def _runner_of(self, shared: "SharedExperiment") -> ClientRunner:
        if self._current is None or self._current[0].recipe != shared.recipe:
            self._current = None  # frees the old experiment before the new one is loaded
            self._current = shared, client_runner(shared.get())
        return self._current[1]
