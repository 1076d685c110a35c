"""The protocol of executors, and the reference executor, which runs everything in this process."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NewType, Protocol, final

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.execution.bundles.plan import BundlePlan
from orchestrator.execution.bundles.runner import BundleRunner
from orchestrator.execution.client_device import client_device, cpu_instead
from orchestrator.execution.fault_injection import client_runner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import Outcome

TaskHandle = NewType("TaskHandle", int)


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """The encoded broadcast of a phase, uint8[n], which every client of the phase receives."""

    buffer: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class TaskRequest:
    """A task with everything that belongs to its client alone: its state and its encoded unicast, uint8[n]."""

    task: ClientTask
    client_state: Any
    unicast: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))


class Executor(Protocol):
    """Runs client tasks. The driver alone decides in which order results fold.

    Tasks may be submitted at any time with any message. Results may be collected in any order: in plan order for
    synchronous rounds, in the order of emulated time for asynchronous ones. An executor may run submitted tasks ahead
    of time; no result depends on when or where its task ran, or on the tasks that ran at the same time. `num_workers`
    processes run tasks.
    """

    description: str
    num_workers: int

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """Submit tasks and return one handle each; does not wait."""

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        """Wait for one task's outcome. Each handle gives its outcome once; KeyError afterwards."""

    def close(self) -> None:
        """Release all resources. Handles without a result become invalid."""


@final
class InProcessExecutor:
    """Runs one client after another in this process, or bundle after bundle, each when the driver asks for a result."""

    def __init__(self, experiment: Experiment) -> None:
        setting = experiment.setting
        in_use = [setting.profiles[index] for index in setting.population.profile_counts()]
        instead = cpu_instead(in_use, cuda=torch.cuda.is_available())
        self.num_workers = 1
        self._bundles = BundlePlan(
            experiment,
            uses_gpu=lambda share: client_device(share, cuda=torch.cuda.is_available()).type != "cpu",
        )
        self.description = f"in-process, one client after another{instead}{self._bundles.note}"
        self._runner = client_runner(experiment)
        self._bundle_runner = BundleRunner(experiment, self._runner)
        self._submitted: dict[TaskHandle, _Bundle] = {}
        self._done: dict[TaskHandle, Outcome[Any]] = {}
        self._num_submitted = 0

    def submit(self, message: Message, requests: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        handles = tuple(TaskHandle(self._num_submitted + place) for place in range(len(requests)))
        self._num_submitted += len(requests)
        for places in self._bundles.bundles([request.task for request in requests], lambda profile: 1):
            bundle = _Bundle(message, {handles[place]: requests[place] for place in places})
            self._submitted |= dict.fromkeys(bundle.requests, bundle)
        return handles

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        if handle in self._done:
            return self._done.pop(handle)
        bundle = self._submitted[handle]
        message, requests = bundle.message, bundle.requests
        for each in requests:
            del self._submitted[each]
        if len(requests) == 1:
            request = requests[handle]
            return self._runner.run(request.task, message.buffer, request.unicast, request.client_state)
        outcomes = self._bundle_runner.run(tuple(requests.values()), message.buffer)
        self._done |= dict(zip(requests, outcomes, strict=True))
        return self._done.pop(handle)

    def close(self) -> None:
        """See Executor."""
        self._submitted.clear()
        self._done.clear()


@dataclass(frozen=True, slots=True, eq=False)
class _Bundle:
    """Tasks that run in one go: one, or several that train together."""

    message: Message
    requests: Mapping[TaskHandle, TaskRequest]
