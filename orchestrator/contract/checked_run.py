"""A client's task that watches its own steps, and one of a played round to be done again."""

from collections.abc import Iterator
from typing import Any

import torch

from orchestrator.contract.rounds import RecordedRound
from orchestrator.contract.violation import hold
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun
from orchestrator.sparsity.wire import decode


class CheckedRun(LocalRun[Any]):
    """A task that holds every step to the mask and counts the steps, however a method makes them."""

    num_steps = 0

    def batches(
        self, purpose: str = "batches", epochs: int | None = None, *, repeats: bool = True
    ) -> Iterator[Iterator[Batch]]:
        """As in LocalRun; what follows a batch is run before the next one is taken."""
        for epoch in super().batches(purpose, epochs, repeats=repeats):
            yield self._checked(epoch)

    def _checked(self, epoch: Iterator[Batch]) -> Iterator[Batch]:
        for batch in epoch:
            yield batch
            self.num_steps += 1
            if self.mask is not None:
                outside = int(self.values[~self.mask].count_nonzero())
                hold(outside == 0, f"step {self.num_steps} left {outside} weights outside the mask")


def checked_run(experiment: Experiment, played: RecordedRound, position: int) -> CheckedRun:
    """The task of that position, on a fresh bench, with the received model as tensors of its own."""
    job, received = played.jobs[position], played.received[position]
    if received is not None:
        mask = None if received.mask is None else received.mask.clone()
        received = ModelValues(received.values.clone(), mask)
    held = experiment.algorithm.shared_mask(job.client_state)
    own = decode(job.unicast, known_masks=known_masks(experiment.setting.layout, held))
    return CheckedRun(
        setting=experiment.setting,
        task=job.task,
        environment=DeviceEnvironment(experiment, torch.device("cpu")),
        received=received,
        payload=played.broadcast.decoded + own,
        state=job.client_state,
    )
