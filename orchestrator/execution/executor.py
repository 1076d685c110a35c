"""The executor contract, and its reference: everything in this process."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NewType, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.execution.client import ClientRunner
from orchestrator.execution.client_device import cpu_instead
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import Outcome

TaskHandle = NewType("TaskHandle", int)


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """What the server sends to the clients of one submission: `buffer` is the encoded broadcast, uint8[n]."""

    buffer: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class TaskRequest:
    """A task, the state that its client brings to it, and the encoded message to it alone, uint8[n]."""

    task: ClientTask
    client_state: Any
    unicast: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))


class Executor(Protocol):
    """Runs client tasks. The driver alone decides the order in which results are folded.

    Jobs may be submitted at any time, with any message, and results be collected in any order: in plan order
    for synchronous rounds, in the order of virtual time for asynchronous ones. An executor may work ahead on
    whatever was submitted; no result depends on when, where or beside what it was computed.
    """

    description: str

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """Hand jobs over, one ticket each; does not wait."""

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """Wait for one outcome. A ticket can be redeemed once; KeyError afterwards."""

    def close(self) -> None:
        """Release what the executor holds; outstanding tickets are void."""


@final
class InProcessExecutor:
    """One client after another in this process, each when its result is asked for."""

    def __init__(self, experiment: Experiment) -> None:
        setting = experiment.setting
        in_use = [setting.profiles[index] for index in setting.population.profile_counts()]
        instead = cpu_instead(in_use, cuda=torch.cuda.is_available())
        self.description = f"in-process, one client after another{instead}"
        self._host = ClientRunner(experiment)
        self._jobs: dict[TaskHandle, tuple[Message, TaskRequest]] = {}
        self._issued = 0

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        tickets: list[TaskHandle] = []
        for job in jobs:
            tickets.append(TaskHandle(self._issued))
            self._jobs[tickets[-1]] = (message, job)
            self._issued += 1
        return tuple(tickets)

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        message, job = self._jobs.pop(ticket)
        return self._host.run(job.task, message.buffer, job.unicast, job.client_state)

    def close(self) -> None:
        """See Executor."""
        self._jobs.clear()
