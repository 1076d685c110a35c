"""The Ray shell around ClientRunner."""

from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from orchestrator.execution.client import ClientRunner
from orchestrator.execution.client_device import hold_to_share
from orchestrator.execution.fault_injection import client_runner
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import Outcome

if TYPE_CHECKING:
    from orchestrator.execution.ray_sharing import SharedExperiment


@final
class ClientActor:
    """One client (dedicated), or whichever client a task embodies (pooled); the same code either way.

    It holds caches only, so that a restarted actor needs nothing restored: every task says which experiment it is of.
    Ray makes it remote where it is created, with its profile's footprint.
    """

    def __init__(self, num_gpus: float = 0.0) -> None:
        """`num_gpus` is what the actor reserves, of which it takes no more than its share of memory."""
        hold_to_share(num_gpus)
        self._present: tuple[SharedExperiment, ClientRunner] | None = None

    def run(
        self,
        shared: "SharedExperiment",
        task: ClientTask,
        broadcast: NDArray[np.uint8],
        unicast: NDArray[np.uint8],
        client_state: Any,
    ) -> Outcome[Any]:
        """Do one task of an experiment."""
        return self._host(shared).run(task, broadcast, unicast, client_state)

    def _host(self, shared: "SharedExperiment") -> ClientRunner:
        if self._present is None or self._present[0].recipe != shared.recipe:
            self._present = None  # the old experiment goes before the new one comes
            self._present = shared, client_runner(shared.get())
        return self._present[1]
