"""The Ray shell around ClientHost."""

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import Outcome
from orchestrator.runtime.client import ClientHost
from orchestrator.runtime.client_device import hold_to_share
from orchestrator.runtime.experiment import Recipe, with_samples


@final
class ClientActor:
    """One client (dedicated), or whichever client a task embodies (pooled); the same code either way.

    It holds caches only, so that a restarted actor needs nothing restored. Ray makes it remote where it is
    created, with its profile's footprint.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, partition: Partition, num_gpus: float = 0.0) -> None:
        """`num_gpus` is what the actor reserves, of which it takes no more than its share of memory."""
        hold_to_share(num_gpus)
        self._host = ClientHost(with_samples(recipe, dataset, partition))

    def run(
        self, task: ClientTask, broadcast: NDArray[np.uint8], unicast: NDArray[np.uint8], client_state: Any
    ) -> Outcome[Any]:
        """Do one task."""
        return self._host.run(task, broadcast, unicast, client_state)
