"""Runs of a few rounds in this process, and helpers that read their folders."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.aggregation.sums import Aggregators
from orchestrator.config.overrides import apply_overrides
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.executor import (
    Executor,
    InProcessExecutor,
    Message,
    TaskHandle,
    TaskRequest,
)
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.exchange import unpack_model
from orchestrator.federation.update import ClientFailure, ClientUpdate, Outcome
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.driver import Driver
from orchestrator.sparsity.wire import decode
from orchestrator.storage.checkpoints.checkpoint import RestoredRun, Templates
from orchestrator.storage.checkpoints.checkpoint_store import CheckpointStore
from orchestrator.storage.run_store import RunStore
from orchestrator.tracking.record import RoundRecord
from tests.support.fakes import cohort
from tests.support.masks import gaps_bytes

#: metrics that differ between equal runs, because they measure the wall clock
TIMING = ("time/wall_s", "time/wall_s_total")
REMEMBERING = "algorithm.name=tests.support.methods:Remembering"
#: the encoded unicast of a method without unicasts
NOTHING = np.empty(0, np.uint8)


@cache
def prepared(*overrides: str) -> Experiment:
    """As `fresh`, but made once for each set of overrides."""
    return fresh(*overrides)


def fresh(*overrides: str) -> Experiment:
    """Six clients on the bundled digits, three a round, four rounds of one epoch."""
    base = (
        "fleet.num_clients=6",
        "training.clients_per_round=3",
        "training.rounds=4",
        "training.local_epochs=1",
        "runtime.executor=inprocess",
        "tracking.enabled=false",
    )
    return prepare(ExperimentConfig.parse(apply_overrides({}, [*base, *overrides])))


class Clock:
    """Wall-clock seconds that advance by one at each call."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def new_driver(
    experiment: Experiment,
    folder: Path,
    executor: Executor | None = None,
    aggregators: Aggregators | None = None,
) -> Driver:
    """A new driver for the run in this folder, as a new process creates it."""
    return Driver(
        experiment,
        executor or InProcessExecutor(experiment),
        RunStore(folder),
        aggregators=aggregators,
        now_s=Clock(),
    )


def drive(
    experiment: Experiment,
    folder: Path,
    *,
    executor: Executor | None = None,
    aggregators: Aggregators | None = None,
    killed_after: int | None = None,
    stopped_after: int | None = None,
) -> Driver:
    """Run the remaining rounds. Drop the driver after `killed_after` records, or stop it after `stopped_after`."""
    driver = new_driver(experiment, folder, executor, aggregators)
    for num_records, _ in enumerate(driver.run(), 1):
        if num_records == killed_after:
            return driver
        if num_records == stopped_after:
            driver.stop()
    return driver


def committed(experiment: Experiment, folder: Path) -> RestoredRun:
    """Restore the last checkpoint, with the latest state of every client."""
    templates = Templates(server=initial_state(experiment), client=experiment.algorithm.init_client(0))
    commit = CheckpointStore(folder / "commits").restore(templates)
    assert commit is not None
    return commit


def initial_state(experiment: Experiment) -> Any:
    """The server state before the first round."""
    return experiment.algorithm.init(torch.from_numpy(experiment.initial.copy()))


def server_mask_bytes(experiment: Experiment) -> int:
    """Bytes of the initial mask of the server in a message to a client that does not have the mask."""
    mask = initial_state(experiment).mask
    return gaps_bytes(experiment.setting.layout.restrict(mask).numpy())


def mean_by_samples(
    experiment: Experiment, params: Tensor, round_idx: int, positions: Sequence[int]
) -> Tensor:
    """float32[D]: FedAvg's next model from the updates at these positions of the plan, with plain sums in numpy."""
    state = experiment.algorithm.init(params)
    message = Broadcast.of(experiment, state).message.buffer
    total, num_images = np.zeros(params.numel()), 0
    for position in positions:
        task = experiment.algorithm.plan(state, round_idx, cohort(experiment, round_idx)).tasks[position]
        update = ClientRunner(experiment).run(task, message, NOTHING, None)
        assert isinstance(update, ClientUpdate), update
        size = len(experiment.partition.train[task.client_id])
        model = unpack_model(experiment.setting.layout, decode(update.buffer))
        assert model is not None
        total += size * model.values.numpy().astype(np.float64)
        num_images += size
    return torch.from_numpy((total / num_images).astype(np.float32))


def comparable(records: Sequence[RoundRecord]) -> list[tuple[int, dict[str, float]]]:
    """Round and metrics without the wall clock."""
    return [(r.round_idx, {k: v for k, v in r.metrics.items() if k not in TIMING}) for r in records]


class Flaky:
    """An executor whose tasks fail: `failures` maps (round, position) to the number of failures before success."""

    description = "flaky"
    num_workers = 1

    def __init__(self, experiment: Experiment, failures: dict[tuple[int, int], int]) -> None:
        self._inner, self._failures = InProcessExecutor(experiment), dict(failures)
        self._jobs: dict[TaskHandle, TaskRequest] = {}
        self.submitted: list[tuple[int, int]] = []
        self.asked_for: list[tuple[int, int]] = []

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        tickets = self._inner.submit(message, jobs)
        self._jobs |= dict(zip(tickets, jobs, strict=True))
        self.submitted += [(job.task.round_idx, job.task.position) for job in jobs]
        return tickets

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        task = self._jobs.pop(ticket).task
        key = task.round_idx, task.position
        self.asked_for.append(key)
        if self._failures.get(key, 0) > 0:
            self._failures[key] -= 1
            return ClientFailure(
                round_idx=task.round_idx,
                position=task.position,
                client_id=task.client_id,
                stage="actor",
                cause="ActorDiedError: killed by the test",
                traceback="Traceback: the test",
            )
        return self._inner.result(ticket)

    def close(self) -> None:
        """See Executor."""
        self._inner.close()


class Eager:
    """An executor that runs tasks at their submission, the last task first."""

    description = "eager"
    num_workers = 1

    def __init__(self, experiment: Experiment) -> None:
        self._inner = InProcessExecutor(experiment)
        self._done: dict[TaskHandle, Outcome[Any]] = {}

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        tickets = self._inner.submit(message, jobs)
        self._done |= {ticket: self._inner.result(ticket) for ticket in reversed(tickets)}
        return tickets

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        return self._done.pop(ticket)

    def close(self) -> None:
        """See Executor."""
        self._done.clear()


class Forgetful:
    """A wrong executor: it gives each task the initial client state."""

    description = "forgetful"
    num_workers = 1

    def __init__(self, experiment: Experiment) -> None:
        self._inner, self._algorithm = InProcessExecutor(experiment), experiment.algorithm

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        blank = [replace(job, client_state=self._algorithm.init_client(job.task.client_id)) for job in jobs]
        return self._inner.submit(message, blank)

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        return self._inner.result(ticket)

    def close(self) -> None:
        """See Executor."""
        self._inner.close()
