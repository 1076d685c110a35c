"""Injects the faults of `chaos.*` into tasks and rounds. A repeated or resumed run gets the same faults.

`FaultyClientRunner` wraps the training and the encoding of a client's task, so that `ClientRunner` knows no faults.
"""

import os
import signal
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any, final

import numpy as np

from orchestrator.atomic_write import write_durably
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.seeds import stream
from orchestrator.federation.update import ClientUpdate, LocalResult
from orchestrator.sparsity.payload import Bits, Dense, Item, Masked, Payload, with_values


class InjectedError(RuntimeError):
    """The error of `chaos.client_raises`."""


@final
class TaskFaultInjector:
    """Decides which fault hits which training task."""

    def __init__(self, config: ExperimentConfig) -> None:
        self._config = config.chaos
        self._faults = config.chaos.task_faults

    def fault(self, task: ClientTask) -> str | None:
        """The config key of the fault that hits this try of a task; None for no fault."""
        if not self._faults or task.kind != "train" or task.attempt >= self._config.tries:
            return None
        mark = self._random(task, "fault").random()
        for name, share in self._faults.items():
            if mark < share:
                return name
            mark -= share
        return None

    def strike(self, fault: str | None, task: ClientTask) -> None:
        """Raise, hang or kill this process, if the fault says so."""
        match fault:
            case "client_raises":
                raise InjectedError(f"chaos.client_raises hit try {task.attempt}")
            case "client_hangs":
                Event().wait()
            case "client_dies":
                os.kill(os.getpid(), signal.SIGKILL)

    def spoil(self, fault: str | None, payload: Payload) -> Payload:
        """The payload with wrong values or masks, if the fault says so."""
        match fault:
            case "update_not_finite":
                return tuple(_not_finite(item) for item in payload)
            case "update_wrong_shape":
                return tuple(_shorter(item) for item in payload)
            case "update_wrong_mask":
                return tuple(_other_mask(item) for item in payload)
        return payload

    def disguise(self, fault: str | None, task: ClientTask, update: ClientUpdate[Any]) -> ClientUpdate[Any]:
        """The update with a wrong round or random bytes, if the fault says so."""
        match fault:
            case "update_stale":
                return replace(update, round_idx=update.round_idx - 1)
            case "update_garbage":
                noise = self._random(task, "garbage").bytes(update.buffer.nbytes)
                return replace(update, buffer=np.frombuffer(noise, np.uint8))
        return update

    def _random(self, task: ClientTask, purpose: str) -> np.random.Generator:
        return stream(self._config.seed, "chaos", *task.stream_path, purpose)


@final
class FaultyClientRunner(ClientRunner):
    """A ClientRunner whose training tasks fail as `chaos.*` says."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment)
        self._injector = TaskFaultInjector(experiment.config)

    def trains_alone(self, task: ClientTask) -> bool:
        """See ClientRunner. A task with a fault shows the fault at its usual place."""
        return super().trains_alone(task) or self._injector.fault(task) is not None

    def _train(self, run: LocalRun[Any]) -> LocalResult[Any]:
        self._injector.strike(self._injector.fault(run.task), run.task)
        return super()._train(run)

    def _encode(
        self, task: ClientTask, received: ModelValues | None, result: LocalResult[Any]
    ) -> ClientUpdate[Any]:
        fault = self._injector.fault(task)
        result = replace(result, payload=self._injector.spoil(fault, result.payload))
        return self._injector.disguise(fault, task, super()._encode(task, received, result))


def client_runner(experiment: Experiment) -> ClientRunner:
    """The runner of an experiment, with faults if its config has any."""
    return FaultyClientRunner(experiment) if experiment.config.chaos.task_faults else ClientRunner(experiment)


def _not_finite(item: Item) -> Item:
    match item:
        case Dense() | Masked() if item.values.size:
            values = item.values.copy()
            values[0], values[-1] = np.nan, np.inf
            return with_values(item, values)
    return item


def _shorter(item: Item) -> Item:
    match item:
        case Dense() | Masked() if item.values.size:
            return with_values(item, item.values[:-1])
        case Bits():
            return replace(item, bits=item.bits[:-1])
    return item


def _other_mask(item: Item) -> Item:
    """Inverted bits; a mask that keeps every entry, or no entry if it kept all; half of a dense model, as if masked."""
    match item:
        case Bits():
            return replace(item, bits=~item.bits)
        case Masked():
            num_unmasked = item.values.size - int(item.mask.sum())
            mask = np.full_like(item.mask, not item.mask.all())
            unmasked = item.values[item.values.size - num_unmasked :]
            return Masked(item.name, np.concatenate([np.zeros(int(mask.sum()), np.float32), unmasked]), mask)
        case Dense():
            return Masked(
                item.name, item.values[: item.values.size // 2], np.arange(item.values.size) % 2 == 0
            )
    return item


@final
class AggregatorFaultInjector:
    """Kills one aggregator in each chosen round, before it adds the first update of a phase for the first time."""

    def __init__(self, config: ExperimentConfig, number: int, count: int) -> None:
        """`number` is this aggregator's, of `count`."""
        self._config, self._number, self._count = config.chaos, number, count

    def strike(self, round_idx: int, attempt: int, place: int) -> None:
        """Kill this process if the round is chosen and it is this aggregator's turn.

        `place` is that of the update that the aggregator will add.
        """
        rng = stream(self._config.seed, "chaos", "aggregator", round_idx)
        is_chosen = rng.random() < self._config.aggregator_dies
        if is_chosen and attempt == place == 0 and round_idx % self._count == self._number:
            os.kill(os.getpid(), signal.SIGKILL)


@final
class DriverFaultInjector:
    """Kills the driver's process once in each chosen round. A mark in the run's folder stores that it did."""

    def __init__(self, config: ExperimentConfig, run_dir: Path) -> None:
        self._config, self._rounds, self._marks = config.chaos, config.training.rounds, run_dir / "chaos"

    def strike(self, round_idx: int) -> None:
        """Kill this process if the round is chosen and has no mark yet. There is no round after the last."""
        if round_idx >= self._rounds:
            return
        mark = self._marks / f"driver-{round_idx:06d}"
        rng = stream(self._config.seed, "chaos", "driver", round_idx)
        if rng.random() < self._config.driver_dies and not mark.exists():
            self._marks.mkdir(exist_ok=True)
            write_durably(mark, b"")
            os.kill(os.getpid(), signal.SIGKILL)
