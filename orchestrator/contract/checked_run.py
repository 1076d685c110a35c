"""A client's task that checks the mask after every step, and its construction from a recorded round."""

from collections.abc import Iterator
from typing import Any

import torch

from orchestrator.contract.rounds import RecordedRound
from orchestrator.contract.violation import require
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.federation.local.environment import Batch
from orchestrator.federation.local.run import LocalRun
from orchestrator.formatting import counted
from orchestrator.sparsity.wire import decode


class CheckedRun(LocalRun[Any]):
    """A `LocalRun` that counts the steps and checks the mask after each step, for any training loop of a method."""

    num_steps = 0

    def batches(
        self, purpose: str = "batches", epochs: int | None = None, *, repeats: bool = True
    ) -> Iterator[Iterator[Batch]]:
        """Yield batches as `LocalRun` does; check the mask before yielding the next batch."""
        for epoch in super().batches(purpose, epochs, repeats=repeats):
            yield self._checked(epoch)

    def _checked(self, epoch: Iterator[Batch]) -> Iterator[Batch]:
        for batch in epoch:
            yield batch
            self.num_steps += 1
            if self.mask is not None:
                outside = int(self.values[~self.mask].count_nonzero())
                require(
                    outside == 0,
                    f"step {self.num_steps} gave {counted(outside, 'weight')} outside the mask a value other than 0",
                )


def checked_run(experiment: Experiment, recorded: RecordedRound, position: int) -> CheckedRun:
    """Return the task of that position in a new environment, with copies of the received tensors."""
    job, received = recorded.jobs[position], recorded.received[position]
    if received is not None:
        mask = None if received.mask is None else received.mask.clone()
        received = ModelValues(received.values.clone(), mask)
    shared = experiment.algorithm.shared_mask(job.client_state)
    own = decode(job.unicast, known_masks=known_masks(experiment.setting.layout, shared))
    return CheckedRun(
        setting=experiment.setting,
        task=job.task,
        environment=DeviceEnvironment(experiment, torch.device("cpu")),
        received=received,
        payload=recorded.broadcast.decoded + own,
        state=job.client_state,
    )
