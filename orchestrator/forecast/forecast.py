"""Forecasts the cost of a run: samples all cohorts, and trains one client's task to measure messages and speed."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from orchestrator.aggregation.costs import round_costs
from orchestrator.aggregation.shard_placement import memory_bytes, place_run
from orchestrator.errors import SparsefleetError
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.placement import ACTOR_BYTES, Capacity, Placement
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.client_event import ClientEvent, participation
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.federation.plan import ClientTask, RoundPlan
from orchestrator.federation.update import ClientFailure, ClientUpdate
from orchestrator.forecast.certainty import Certainties, certainties_of
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.cutoff import Cutoff
from orchestrator.rounds.sampler import CohortSampler

#: seconds; a shorter task is measured again
_SHORT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The cost of a run before it runs; `certainties` says which numbers are exact.

    - `num_tasks`: training tasks of all rounds.
    - `upload_bytes`, `download_bytes`, `train_flops`, `emulated_s`: totals, as in RunSummary.
    - `wall_s`: estimated wall-clock seconds on this machine, without the start of Ray and of the actors.
    - `placement`: the client actors; None when the clients train in the command's process.
    - `actor_bytes`: resident memory of all processes that train, without the samples and activations.
    - `num_parameters`: values of the model that travel, such as weights and running statistics.
    """

    num_rounds: int
    num_tasks: int
    upload_bytes: int
    download_bytes: int
    train_flops: float
    emulated_s: float
    wall_s: float
    placement: Placement | None
    actor_bytes: int
    num_parameters: int
    certainties: Certainties

    def to_json(self) -> str:
        """Return one JSON object."""
        return json.dumps(asdict(self), indent=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _MeasuredTask:
    """One trained task: the update, the bytes of its download, its wall-clock seconds and its samples in all epochs."""

    update: ClientUpdate[Any]
    download_bytes: int
    wall_s: float
    num_samples: int


def forecast(experiment: Experiment, capacity: Capacity) -> Forecast:
    """Forecast the cost of a run on a cluster with this capacity. Trains one task of the smallest client of round 0.

    Raises SparsefleetError when the task fails, ResourceError when the client actors do not fit, and RoundError when no
    client becomes available.
    """
    config, certainties = experiment.config, certainties_of(experiment)
    placement, aggregator_bytes = None, 0
    if config.runtime.executor == "ray":
        placement, aggregators = place_run(experiment, capacity)
        if aggregators.count:
            aggregator_bytes = aggregators.count * memory_bytes(experiment, aggregators.count)
    measured, totals, num_tasks = None, dict[str, float](), 0
    for plan in _plans(experiment, totals):
        if measured is None:
            measured = _measure(experiment, min(plan.tasks, key=lambda task: _num_samples(experiment, task)))
        costs = _round(experiment, plan, measured)
        totals |= {name: totals.get(name, 0.0) + value for name, value in costs.items()}
        num_tasks += len(plan.tasks)
    assert measured is not None, "a run has at least one round"
    if certainties.bytes == "at most":
        num_tasks = config.training.rounds * CohortSampler(experiment).cohort_size
        totals["comm/upload_bytes"] = num_tasks * measured.update.buffer.nbytes
        totals["comm/download_bytes"] = num_tasks * measured.download_bytes
    num_actors = 1 if placement is None else len(placement.actors)
    workers = min(num_actors, capacity.num_cores, config.training.clients_per_round)
    return Forecast(
        num_rounds=config.training.rounds,
        num_tasks=num_tasks,
        upload_bytes=int(totals["comm/upload_bytes"]),
        download_bytes=int(totals["comm/download_bytes"]),
        train_flops=totals["compute/train_flops"],
        emulated_s=totals["time/emulated_s"],
        wall_s=_wall_s(experiment, totals["compute/train_flops"], measured, workers),
        placement=placement,
        actor_bytes=num_actors * ACTOR_BYTES + aggregator_bytes,
        num_parameters=experiment.setting.layout.size,
        certainties=certainties,
    )


def _plans(experiment: Experiment, totals: Mapping[str, float]) -> Iterator[RoundPlan]:
    """Yield the training tasks of each round, at the emulated time in `totals`.

    An asynchronous round counts as a synchronous round of as many clients as the buffer holds.
    """
    config, sampler = experiment.config, CohortSampler(experiment)
    sizes = {"none": sampler.cohort_size, "fedbuff": config.asynchrony.buffer_size, "fedasync": 1}
    for round_idx in range(config.training.rounds):
        cohort, _ = sampler.wait_for_cohort(round_idx, totals.get("time/emulated_s", 0.0))
        yield RoundPlan.of(round_idx, cohort[: sizes[config.asynchrony.kind]])


def _measure(experiment: Experiment, task: ClientTask) -> _MeasuredTask:
    """Train one task in this process, from the initial model."""
    algorithm = experiment.algorithm
    broadcast = Broadcast.of(experiment, algorithm.init(torch.from_numpy(experiment.initial.copy())))
    request = broadcast.request(task, algorithm.init_client(task.client_id))
    runner, wall_s = ClientRunner(experiment), 0.0
    while True:
        began_s, before_s = time.perf_counter(), wall_s
        outcome = runner.run(task, broadcast.message.buffer, request.unicast, request.client_state)
        wall_s = time.perf_counter() - began_s
        # the first task of a process is slower, so that a short task is measured twice
        if before_s or wall_s > _SHORT_S:
            break
    if isinstance(outcome, ClientFailure):
        raise SparsefleetError(f"the first task of the dry run failed: {outcome.cause}")
    assert isinstance(outcome, ClientUpdate), "a training task returns an update"
    return _MeasuredTask(
        update=outcome,
        download_bytes=broadcast.download_bytes(request, None),
        wall_s=wall_s,
        num_samples=_num_samples(experiment, task),
    )


def _num_samples(experiment: Experiment, task: ClientTask) -> int:
    """Samples of all mini-batches in all epochs of a task."""
    training, setting = experiment.config.training, experiment.setting
    num_own = len(experiment.partition.train[task.client_id])
    return training.local_epochs * sum(batch_sizes(num_own, training, setting.smallest_batch))


def _round(experiment: Experiment, plan: RoundPlan, measured: _MeasuredTask) -> dict[str, float]:
    """The costs of a round in which every task costs as much for each sample as the measured one."""
    config, events = experiment.config, [_event(experiment, task, measured) for task in plan.tasks]
    needed = config.training.clients_per_round if config.fleet.over_selection > 1.0 else None
    cutoff = Cutoff(deadline_s=config.fleet.deadline_s, needed=needed)
    return round_costs(events, emulated_s=cutoff.ends_s(events), num_failures=0, wall_s=0.0)


def _event(experiment: Experiment, task: ClientTask, measured: _MeasuredTask) -> ClientEvent:
    num_samples, update = _num_samples(experiment, task), measured.update
    # the quotient is exact for a steady cost, so that the product is the sum over the task's steps
    scaled = {
        name: getattr(update, name) / measured.num_samples * num_samples
        for name in ("train_flops", "train_flops_dense", "unmasked_flops")
    }
    profile = experiment.setting.profile_of(task.client_id, task.round_idx)
    own = replace(update, client_id=task.client_id, num_examples=num_samples, **scaled)
    upload_bytes = own.buffer.nbytes * experiment.algorithm.upload_copies(task)
    return participation(task, own, profile, measured.download_bytes, upload_bytes)


def _wall_s(experiment: Experiment, train_flops: float, measured: _MeasuredTask, workers: int) -> float:
    """Seconds for all tasks at the measured speed on parallel workers, and for evaluating the global model."""
    training, dataset = experiment.config.training, experiment.dataset
    s_per_flop = measured.wall_s / measured.update.train_flops if measured.update.train_flops else 0.0
    num_evaluations = -(-training.rounds // training.eval_every)
    num_scored = len(dataset.test_labels) + len(experiment.partition.validation.indices)
    evaluation_flops = num_evaluations * num_scored * experiment.setting.cost.forward_flops()
    return s_per_flop * (train_flops / workers + evaluation_flops)
