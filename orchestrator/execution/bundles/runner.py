"""Runs the tasks of a bundle: those that can train together do, all others run one by one with ClientRunner."""

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.execution.client import ClientRunner, StartedTask
from orchestrator.execution.client_device import client_device, repeatable
from orchestrator.execution.torch_threads import torch_threads
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.local.stacked.training import train_together
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import Outcome

if TYPE_CHECKING:
    from orchestrator.execution.executor import TaskRequest

_LOG = logging.getLogger(__name__)


@final
class BundleRunner:
    """Trains clients together around a ClientRunner, which stays the reference for every single task.

    A task that cannot start or finish with the others, and all tasks of a joint training that fails, run again one by
    one. So a task fails only if it fails alone.
    """

    def __init__(self, experiment: Experiment, runner: ClientRunner) -> None:
        self._experiment, self._runner = experiment, runner
        self._has_warned = False

    def run(
        self, requests: Sequence["TaskRequest"], broadcast: NDArray[np.uint8]
    ) -> tuple[Outcome[Any], ...]:
        """The outcomes of the requests, in order."""
        outcomes: dict[int, Outcome[Any]] = {}
        for group in self._start(requests, broadcast):
            outcomes |= self._train(group)
        return tuple(
            outcomes[place]
            if place in outcomes
            else self._runner.run(request.task, broadcast, request.unicast, request.client_state)
            for place, request in enumerate(requests)
        )

    def _start(
        self, requests: Sequence["TaskRequest"], broadcast: NDArray[np.uint8]
    ) -> list[dict[int, StartedTask]]:
        """Groups of started tasks, by place, whose models have the same module."""
        groups: dict[int, dict[int, StartedTask]] = {}
        for place, request in enumerate(requests):
            if not self._may_join(request.task):
                continue
            try:
                started = self._runner.start(request.task, broadcast, request.unicast, request.client_state)
            except Exception as error:  # the task runs alone, and reports its error there
                _LOG.debug("client %d cannot start with others: %r", request.task.client_id, error)
                continue
            if started.is_untrained:
                groups.setdefault(id(started.run.flat), {})[place] = started
        return [group for group in groups.values() if len(group) > 1]

    def _may_join(self, task: ClientTask) -> bool:
        """Whether a task may train with others here. `auto` trains alone on a machine without the GPU it hoped for."""
        if self._runner.trains_alone(task):
            return False
        profile = self._experiment.setting.profile_of(task.client_id, task.round_idx)
        device = client_device(profile.num_gpus, cuda=torch.cuda.is_available())
        return self._experiment.config.runtime.cohort != "auto" or device.type != "cpu"

    def _train(self, group: dict[int, StartedTask]) -> dict[int, Outcome[Any]]:
        """The updates of the tasks that could train together, by place."""
        tasks = list(group.values())
        first = tasks[0].run
        profile = self._experiment.setting.profile_of(first.task.client_id, first.task.round_idx)
        began_s = time.perf_counter()
        try:
            with torch_threads(profile.num_threads), repeatable(first.values.device):
                trained = train_together([task.run for task in tasks], [task.values for task in tasks])
        except Exception as error:
            self._warn(f"clients train one by one, because training them together failed: {error!r}")
            return {}
        train_s = (time.perf_counter() - began_s) / len(tasks)
        outcomes: dict[int, Outcome[Any]] = {}
        for (place, task), values in zip(group.items(), trained.unbind(), strict=True):
            try:
                outcomes[place] = self._runner.finish(task, values, train_s)
            except Exception as error:  # as above
                _LOG.debug("client %d cannot finish with others: %r", task.run.task.client_id, error)
        return outcomes

    def _warn(self, line: str) -> None:
        """Log a line once."""
        if not self._has_warned:
            self._has_warned = True
            _LOG.warning(line)
