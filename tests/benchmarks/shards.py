"""Measure how fast aggregators add the updates of a round: `python -m tests.benchmarks.shards`.

The round has 100 dense updates of a ResNet-18 (11.2 million parameters) and no training: the encoded updates are in
Ray's object store when the clock starts. The benchmark times the round with the driver alone, with one aggregator and
with two, in turn. It prints medians over `--repeats`, the CPU time of the busiest aggregator, and the largest private
memory of the driver above that before the round, in sizes of the float32 model. The bits of all averages must be equal.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from orchestrator.aggregation.fold import Fold
from orchestrator.aggregation.ray_aggregators import RayAggregators, start_aggregators
from orchestrator.aggregation.received_update import ReceivedUpdate
from orchestrator.config.overrides import apply_overrides
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.execution.executor import TaskRequest
from orchestrator.execution.ray_actors import end_actors, wait_for_actors
from orchestrator.execution.ray_sharing import SharedExperiment, share
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.admission import admit
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.runtime.ray_session import ray_session
from orchestrator.storage.checkpoints.client_memory import ClientMemory
from orchestrator.storage.checkpoints.client_states import ClientStates
from orchestrator.storage.checkpoints.saved_states import SavedClientStates
from tests.benchmarks.wire import layout_of, update_of

#: updates with values of their own; the others repeat them, so that the object store holds few
DISTINCT = 8
_OPTIONS = ("model.name=resnet18", "fleet.num_clients=100", "training.clients_per_round=100")


@dataclass(frozen=True, eq=False)
class Round:
    """A round whose updates are in the object store."""

    experiment: Experiment
    shared: SharedExperiment
    broadcast: Broadcast
    message: ray.ObjectRef[Any]
    payloads: list[ray.ObjectRef[Any]]


@dataclass(frozen=True)
class Measured:
    """Seconds of a round, CPU seconds of its busiest process, private memory of the driver in models, and the bits."""

    wall_s: float
    cpu_s: float
    memory: float
    digest: str


def add_round(made: Round, num_updates: int, aggregators: RayAggregators | None) -> str:
    """Admit and add the updates, and return the digest of the average."""
    with tempfile.TemporaryDirectory() as folder:
        memory = ClientMemory(ClientStates(SavedClientStates(Path(folder), None)))
        fold = Fold(made.experiment, 0, memory, None if aggregators is None else aggregators.sums(0))
        requests = [
            TaskRequest(ClientTask(round_idx=0, position=k, client_id=k), None) for k in range(num_updates)
        ]
        headers = [_header(made.experiment, request.task) for request in requests]
        outcomes: list[Any] = list(headers)
        if aggregators is not None:
            outcomes = [
                aggregators.store(made.message, request, header, made.payloads[place % DISTINCT])
                for place, (request, header) in enumerate(zip(requests, headers, strict=True))
            ]
        for place, request in enumerate(requests):
            outcome = outcomes[place]
            if aggregators is None:
                outcome = replace(outcome, buffer=ray.get(made.payloads[place % DISTINCT]))
            update = admit(made.experiment, request, outcome, made.broadcast, 0, 0.0)
            assert isinstance(update, ReceivedUpdate), update
            fold.add(update, "used")
        aggregate = fold.finish(made.broadcast.state.params, 1.0).aggregate
    return sha256(aggregate.values.numpy().data).hexdigest()


def _header(experiment: Experiment, task: ClientTask) -> ClientUpdate[None]:
    return ClientUpdate(
        round_idx=task.round_idx,
        position=task.position,
        client_id=task.client_id,
        buffer=np.empty(0, np.uint8),
        num_examples=len(experiment.partition.train[task.client_id]),
        train_flops=0.0,
        train_flops_dense=0.0,
        unmasked_flops=0.0,
        client_state=None,
        metrics={},
    )


def measure(made: Round, num_updates: int, actors: list[Any]) -> Measured:
    """Measure a round with these aggregators; with none, the driver adds the updates."""
    aggregators = RayAggregators(made.experiment, made.shared, actors) if actors else None
    add_round(made, 2, aggregators)  # the aggregators load the experiment and the broadcast
    before = _cpu_s(actors)
    with _peak_bytes() as peak:
        started_s = time.perf_counter()
        digest = add_round(made, num_updates, aggregators)
        wall_s = time.perf_counter() - started_s
    busiest = max(after - earlier for after, earlier in zip(_cpu_s(actors), before, strict=True))
    return Measured(wall_s, busiest, peak[0] / (4 * made.experiment.setting.layout.size), digest)


def _cpu_s(actors: list[Any]) -> list[float]:
    """CPU seconds of the aggregators; of this process without aggregators."""
    if not actors:
        return [time.process_time()]
    times: list[float] = ray.get([actor.__ray_call__.remote(_process_time) for actor in actors])
    return times


def _process_time(_actor: object) -> float:
    return time.process_time()


@contextmanager
def _peak_bytes() -> Iterator[list[int]]:
    """Measure the largest private memory of this process in the block above that at its start, in bytes."""
    start, ended, peak = _private_bytes(), threading.Event(), [0]

    def watch() -> None:
        while not ended.wait(0.002):
            peak[0] = max(peak[0], _private_bytes() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _private_bytes() -> int:
    """Resident memory without that of files and of Ray's object store."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@ray.remote(num_cpus=0.1)
def _payload(size: int, seed: int) -> np.ndarray:
    return update_of(layout_of(size), None, seed)


def prepare_round() -> Round:
    """Put the updates into the object store, without this process."""
    config = ExperimentConfig.parse(apply_overrides({}, ["tracking.enabled=false", *_OPTIONS]))
    experiment = prepare(config)
    state = ServerState(params=torch.from_numpy(experiment.initial.copy()))
    broadcast, size = Broadcast.of(experiment, state), experiment.setting.layout.size
    payloads = [_payload.remote(size, seed) for seed in range(DISTINCT)]
    ray.wait(payloads, num_returns=DISTINCT, fetch_local=False)
    return Round(experiment, share(experiment), broadcast, ray.put(broadcast.message.buffer), payloads)


def main() -> None:
    """Print one line for each number of aggregators, and the ratio of the times."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--updates", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with ray_session(RuntimeConfig()):
        made = prepare_round()
        actors = start_aggregators(made.experiment, 2, "benchmark")
        wait_for_actors(actors)
        results: dict[int, list[Measured]] = {0: [], 1: [], 2: []}
        for _ in range(arguments.repeats):
            for count, found in results.items():
                found.append(measure(made, arguments.updates, actors[:count]))
                print(
                    f"{count} aggregators: {found[-1].wall_s:.2f} s, {found[-1].cpu_s:.2f} s of CPU",
                    flush=True,
                )
        few = measure(made, max(4, arguments.updates // 10), actors)
        end_actors(actors)
    assert len({one.digest for found in results.values() for one in found}) == 1, "the bits differ"
    for count, found in results.items():
        who = f"{count} aggregators" if count else "the driver alone"
        values = [statistics.median(getattr(one, name) for one in found) for name in ("wall_s", "cpu_s")]
        memory = max(one.memory for one in found)
        print(
            f"{who}: {values[0]:.2f} s, busiest process {values[1]:.2f} s of CPU, driver {memory:.2f} models"
        )
    for name in ("wall_s", "cpu_s"):
        ratios = [getattr(a, name) / getattr(b, name) for a, b in zip(results[1], results[2], strict=True)]
        shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"1 aggregator / 2 aggregators, {name}: {statistics.median(ratios):.2f} ({shown})")
    print(f"driver with a tenth of the updates: {few.memory:.2f} models; the bits are equal")


if __name__ == "__main__":
    main()
