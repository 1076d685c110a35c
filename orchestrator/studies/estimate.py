"""Estimates what a study costs without running it: bytes, FLOPs, emulated time and time on this machine.

The estimate reads no data. It takes masks at their first density, submodels at their devices' capabilities, clients of
equal size, no probes, and one message of the model in each direction for each participant. Methods that change their
density, or that send less, cost less. Legend: D = parameters of the model.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from math import ceil

import torch

from orchestrator.config.sections import ModelConfig, PartitionConfig
from orchestrator.data.registry import default_model
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.methods import load_algorithm
from orchestrator.fleet.clock import client_time
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.fleet.registry import get_fleet
from orchestrator.models.cost import ModelCost, measure_cost
from orchestrator.models.parameters import FlatModule
from orchestrator.models.registry import build_model
from orchestrator.models.shapes import random_input
from orchestrator.studies.data_needs import NEEDS, NeededData
from orchestrator.studies.plan import NUM_FINALISTS, TUNING_SEEDS, Cell, StudyPlan, Values
from orchestrator.studies.schema import DataNeed

_FLOAT_BYTES = 4
_REFERENCE_TEST_SAMPLES = 100
#: (model, data, name of the data set, batch size) -> seconds of one training step of the dense model with one thread
StepTimer = Callable[[ModelConfig, DataNeed, str, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The estimated cost of runs.

    `core_s` is the time of one core of this machine, in seconds.
    """

    num_runs: int = 0
    upload_bytes: float = 0.0
    download_bytes: float = 0.0
    train_flops: float = 0.0
    emulated_s: float = 0.0
    core_s: float = 0.0

    def __add__(self, other: "CostEstimate") -> "CostEstimate":
        """Return the sum of both."""
        return CostEstimate(
            num_runs=self.num_runs + other.num_runs,
            upload_bytes=self.upload_bytes + other.upload_bytes,
            download_bytes=self.download_bytes + other.download_bytes,
            train_flops=self.train_flops + other.train_flops,
            emulated_s=self.emulated_s + other.emulated_s,
            core_s=self.core_s + other.core_s,
        )

    def times(self, num: int) -> "CostEstimate":
        """Return the cost of `num` equal runs."""
        return CostEstimate(
            num_runs=num * self.num_runs,
            upload_bytes=num * self.upload_bytes,
            download_bytes=num * self.download_bytes,
            train_flops=num * self.train_flops,
            emulated_s=num * self.emulated_s,
            core_s=num * self.core_s,
        )


def estimate_study(plan: StudyPlan, step_s: StepTimer) -> dict[str, CostEstimate]:
    """Return the cost of the tuning runs, of the reported runs of one seed, and of the whole study."""
    first: dict[Cell, Values] = {}
    tuning, num_values = CostEstimate(), Counter[Cell]()
    for cell, values, tree in plan.tuning_entries():
        first.setdefault(cell, values)
        need = plan.study.settings[cell.setting].data
        cost = estimate_run(plan.parse(tree, cell), need, step_s)
        num_values[cell] += 1
        is_finalist = num_values[cell] <= NUM_FINALISTS  # all values of a cell cost about the same
        tuning += cost.times(len(TUNING_SEEDS) if is_finalist else 1)
    seed = CostEstimate()
    for cell in plan.cells:
        config = plan.parse(plan.report_config(cell, plan.values_for(cell, first)), cell)
        seed += estimate_run(config, plan.study.settings[cell.setting].data, step_s)
    return {"tuning": tuning, "one seed": seed, "whole study": tuning + seed.times(plan.num_seeds)}


def estimate_run(config: ExperimentConfig, need: DataNeed, step_s: StepTimer) -> CostEstimate:
    """Return the cost of one run. Raises RequestError for a model or fleet that does not exist."""
    training, fleet = config.training, get_fleet(config.fleet.name, config.fleet.sparse_efficiency)
    num_samples = samples_per_client(config, NEEDS[need])
    num_tasks = training.rounds * training.clients_per_round
    weights = [share / sum(fleet.shares) for share in fleet.shares]
    tasks = [_task(config, need, profile, num_samples) for profile in fleet.profiles]
    num_steps = training.local_epochs * max(1, ceil(num_samples / training.batch_size))
    dense_step_s = step_s(config.model, need, config.data.name, training.batch_size)
    steps_s = sum(w * task.size * num_steps * dense_step_s for w, task in zip(weights, tasks, strict=True))
    scored_s = num_scored(config, NEEDS[need]) * dense_step_s / (3.0 * training.batch_size)
    slowest_s = max(task.total_s for w, task in zip(weights, tasks, strict=True) if w > 0.0)
    return CostEstimate(
        num_runs=1,
        upload_bytes=num_tasks * sum(w * task.upload_bytes for w, task in zip(weights, tasks, strict=True)),
        download_bytes=num_tasks
        * sum(w * task.download_bytes for w, task in zip(weights, tasks, strict=True)),
        train_flops=num_tasks * sum(w * task.flops for w, task in zip(weights, tasks, strict=True)),
        emulated_s=training.rounds * slowest_s,
        core_s=num_tasks * steps_s + scored_s,
    )


def samples_per_client(config: ExperimentConfig, needed: NeededData) -> float:
    """Return the mean number of training samples of a client, without its validation part."""
    partition = config.data.partition
    held_back = 1.0 - config.data.validation_fraction
    if partition.kind == "shards" and partition.shard_size is not None:
        return held_back * partition.classes_per_client * partition.shard_size
    distinct = partition.distinct_clients or config.fleet.num_clients
    return held_back * needed.num_train / distinct


def num_scored(config: ExperimentConfig, needed: NeededData) -> float:
    """Return the number of samples that the evaluations of a run score: the central test set and the clients' parts."""
    evaluation, rounds, every = config.evaluation, config.training.rounds, config.training.eval_every
    scored_clients = min(evaluation.max_clients or config.fleet.num_clients, config.fleet.num_clients)
    part = _test_part(config.data.partition, config.fleet.num_clients, needed)
    num_personal = ceil(rounds / (evaluation.personal_every or every))
    return ceil(rounds / every) * needed.num_test + num_personal * scored_clients * part


def _test_part(partition: PartitionConfig, num_clients: int, needed: NeededData) -> float:
    """The test samples of one client: all of its classes for shards, else a part with the client's label mix."""
    if partition.kind == "shards":
        return needed.num_test * min(partition.classes_per_client, needed.num_classes) / needed.num_classes
    return max(needed.num_test / num_clients, min(needed.num_test, _REFERENCE_TEST_SAMPLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One participant's task in one round; `size` is the share of the dense model's operations that it computes."""

    upload_bytes: float
    download_bytes: float
    flops: float
    total_s: float
    size: float


def _task(config: ExperimentConfig, need: DataNeed, profile: DeviceProfile, num_samples: float) -> _Task:
    num_params, num_maskable, cost = _measured(config.model.model_dump_json(), need, config.data.name)
    method = load_algorithm(config.algorithm.name)
    level = config.sparsity.level
    density = 1.0 - level if level is not None else method.capabilities.default_density or 1.0
    is_update, is_submodel = method.traits.structure == "update", method.capabilities.submodels
    size = profile.capability**2 if is_submodel else 1.0
    masked = 1.0 if is_submodel else density
    sent = size * (num_params - num_maskable + masked * num_maskable)
    trained = 1.0 if is_update else masked
    active = {name: round(trained * number) for name, number in cost.sizes.items()}
    passes = config.training.local_epochs * num_samples
    flops, dense = (passes * size * cost.training_flops(each) for each in (active, None))
    upload_bytes = _FLOAT_BYTES * sent
    download_bytes = _FLOAT_BYTES * (num_params if is_update else sent)
    times = client_time(
        profile,
        download_bytes=round(download_bytes),
        train_flops=flops,
        unmasked_flops=dense,
        upload_bytes=round(upload_bytes),
    )
    return _Task(
        upload_bytes=upload_bytes,
        download_bytes=download_bytes,
        flops=flops,
        total_s=times.total_s,
        size=size,
    )


@cache
def _measured(model_json: str, need: DataNeed, data_name: str) -> tuple[int, int, ModelCost]:
    """Return D, the number of maskable parameters, and the cost of one sample, for `config.model` as JSON."""
    flat = FlatModule(_module(ModelConfig.model_validate_json(model_json), need, data_name))
    cost = measure_cost(flat.module, flat.layout, NEEDS[need].input_shape)
    return len(flat.values), flat.layout.num_maskable, cost


def _module(model: ModelConfig, need: DataNeed, data_name: str) -> torch.nn.Module:
    needed = NEEDS[need]
    return build_model(model, needed.input_shape, needed.num_classes, default_model(data_name))


def measured_step_s(model: ModelConfig, need: DataNeed, data_name: str, batch_size: int) -> float:
    """Measure the time of one training step with one thread on this machine: the smallest of three, in seconds."""
    return _measured_step_s(model.model_dump_json(), need, data_name, batch_size)


@cache
def _measured_step_s(model_json: str, need: DataNeed, data_name: str, batch_size: int) -> float:
    module, needed = _module(ModelConfig.model_validate_json(model_json), need, data_name), NEEDS[need]
    inputs = random_input(needed.input_shape, needed.num_classes)[:1].repeat(
        batch_size, *(1 for _ in needed.input_shape)
    )
    labels = torch.zeros(batch_size, dtype=torch.int64)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return min(_step_times(module, inputs, labels))
    finally:
        torch.set_num_threads(before)


def _step_times(module: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> Iterator[float]:
    optimizer = torch.optim.SGD(module.parameters(), lr=1e-6)
    for _ in range(3):
        started_s = time.process_time()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        yield time.process_time() - started_s
