"""Runs on devices with given training times, and helpers that read their logs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from orchestrator.execution.client import ClientRunner
from orchestrator.execution.executor import (
    Executor,
    InProcessExecutor,
    Message,
    TaskHandle,
    TaskRequest,
)
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, known_masks
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate, Outcome
from orchestrator.fleet.devices import Devices
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.sparsity.wire import decode
from orchestrator.tracking.record import read_records
from tests.support.fleets import with_population, with_profiles
from tests.support.runs import (
    comparable,
    initial_state,
    new_driver,
    prepared,
)

#: a model of 64 x 10 weights and 10 biases, trained in steps of 100 images and scored once
SMALL = ("model.name=tests.support.models:linear", "training.batch_size=100", "training.eval_every=1000")
SIZE = 64 * 10 + 10
FEDBUFF = ("asynchrony.kind=fedbuff", "asynchrony.buffer_size=2")
FEDASYNC = ("asynchrony.kind=fedasync",)
#: six clients of five speeds, three at work, two to a round
TIERS = (*SMALL, *FEDBUFF, "fleet.name=five-tier")
#: bytes of the dense model on the wire, either way
MODEL_BYTES = 12 + 16 + 8 + 4 * SIZE


def device(name: str, seconds: float, flops: float, **changes: Any) -> DeviceProfile:
    """A device that needs `seconds` for this number of FLOPs; its transfers need no time."""
    options = {"uplink_bytes_per_s": np.inf, "downlink_bytes_per_s": np.inf, **changes}
    return DeviceProfile(name=name, flops_per_s=flops / seconds, **options)


def dense_flops(experiment: Experiment, client_id: int) -> float:
    """Operations of a training task of this client with the whole model."""
    setting = experiment.setting
    num_images = len(experiment.partition.train[client_id])
    return setting.training.local_epochs * num_images * setting.cost.training_flops(None)


def with_durations(seconds: Sequence[float], *overrides: str, **changes: Any) -> Experiment:
    """As many clients as seconds, on digits; client k trains the whole model in `seconds[k]`.

    `changes` are fields of all devices.
    """
    experiment = prepared(f"fleet.num_clients={len(seconds)}", *SMALL, *overrides)
    profiles = [
        device(f"device-{k}", s, dense_flops(experiment, k), **changes) for k, s in enumerate(seconds)
    ]
    return with_profiles(experiment, profiles)


def with_availability(
    experiment: Experiment, intervals: Sequence[Sequence[tuple[float, float]]]
) -> Experiment:
    """Client k is available only in `intervals[k]`, in emulated seconds since the start of the run."""
    population, num_clients = experiment.setting.population, len(intervals)
    devices = Devices(
        profile=population.assignment,
        first=np.cumsum([0, *map(len, intervals)]),
        intervals=np.array([pair for own in intervals for pair in own], dtype=np.float64).reshape(-1, 2),
    )
    return with_population(
        experiment,
        replace(population, devices=devices, assignment=np.arange(num_clients, dtype=np.int32)),
    )


def events(folder: Path) -> list[dict[str, Any]]:
    """The participations of a run, in the order in which they are logged, with their `total_s` and end `at_s`."""
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for event in found:
        event["total_s"] = event["download_s"] + event["compute_s"] + event["upload_s"]
        event["at_s"] = event["start_s"] + event["total_s"]
    return found


def brief(event: dict[str, Any]) -> tuple[int, int, float, float, int]:
    """(round, client, start, end, staleness)."""
    return (event["round_idx"], event["client_id"], event["start_s"], event["at_s"], event["staleness"])


def metrics(folder: Path) -> list[dict[str, float]]:
    """The metrics of a run's rounds."""
    return [record.metrics for record in read_records(folder / "metrics.jsonl")]


def models_of(experiment: Experiment, folder: Path, executor: Executor | None = None) -> list[Tensor]:
    """Run to the end; return the float32[D] models before each round, and the last model."""
    state = initial_state(experiment)
    models = [state.params]
    for record in new_driver(experiment, folder, executor).run():
        file = folder / "commits" / f"server-{record.round_idx:06d}.safetensors"
        models.append(load_file(file)["params"])
    return models


def trained(
    experiment: Experiment, state: ServerState, round_idx: int, client_id: int, repeat: int = 0
) -> ModelValues:
    """Return the decoded update, in full coordinates, of a stateless client that starts from this state."""
    broadcast = Broadcast.of(experiment, state)
    job = broadcast.request(
        ClientTask(round_idx=round_idx, position=0, client_id=client_id, repeat=repeat), None
    )
    update = ClientRunner(experiment).run(job.task, broadcast.message.buffer, job.unicast, None)
    assert isinstance(update, ClientUpdate), update
    received = broadcast.received_by(job)
    known = known_masks(experiment.setting.layout, None if received is None else received.mask)
    model = experiment.algorithm.unpack(decode(update.buffer, known_masks=known), job.task, None)
    assert model is not None
    return model


def trained_from(
    experiment: Experiment, params: Tensor, round_idx: int, client_id: int, repeat: int = 0
) -> NDArray[np.float64]:
    """float64[D]: `trained` for a dense model."""
    state = ServerState(params=params)
    return trained(experiment, state, round_idx, client_id, repeat).values.numpy().astype(np.float64)


def assert_same_run(folder: Path, undisturbed: Path) -> None:
    """The same metrics but for the wall clock, the same events, and the same states in the commits."""
    names = "metrics.jsonl", "events.jsonl"
    found, expected = (comparable(read_records(path / names[0])) for path in (folder, undisturbed))
    assert found == expected
    assert (folder / names[1]).read_text() == (undisturbed / names[1]).read_text()
    states = [sorted(path.glob("commits/*.safetensors")) for path in (folder, undisturbed)]
    assert [path.name for path in states[0]] == [path.name for path in states[1]]
    for path, other in zip(*states, strict=True):
        assert path.read_bytes() == other.read_bytes(), path.name


class Shuffled:
    """An executor that runs all waiting tasks in random order when a result is collected."""

    description = "shuffled"
    num_workers = 1

    def __init__(self, experiment: Experiment, seed: int) -> None:
        self._inner, self._rng = InProcessExecutor(experiment), np.random.default_rng(seed)
        self._waiting: list[TaskHandle] = []
        self._done: dict[TaskHandle, Outcome[Any]] = {}

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        """See Executor."""
        tickets = self._inner.submit(message, jobs)
        self._waiting += tickets
        return tickets

    def result(self, ticket: TaskHandle) -> Outcome[Any]:
        """See Executor."""
        for index in self._rng.permutation(len(self._waiting)):
            self._done[self._waiting[index]] = self._inner.result(self._waiting[index])
        self._waiting = []
        return self._done.pop(ticket)

    def close(self) -> None:
        """See Executor."""
        self._inner.close()
