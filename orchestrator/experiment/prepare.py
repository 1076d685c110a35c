"""Prepare an experiment: load and check the data, partition, model, method and fleet of a config."""

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import nn

from orchestrator.config.training import TrainingConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.data.registry import default_model, load_dataset
from orchestrator.errors import ConfigError, ModelError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, split_samples
from orchestrator.experiment.method_support import require_support
from orchestrator.experiment.methods import load_algorithm
from orchestrator.experiment.own_parts.density_schedule import with_density_schedule
from orchestrator.experiment.own_parts.learning_rates import with_learning_rates
from orchestrator.experiment.own_parts.metrics import load_metrics
from orchestrator.experiment.own_parts.sources import named_sources
from orchestrator.federation.device_assignment import sample_population
from orchestrator.federation.local.batches import batch_sizes
from orchestrator.federation.robust.own_rule import load_rule
from orchestrator.federation.seeds import forked_seeds
from orchestrator.federation.setting import Setting
from orchestrator.fleet.own_sampling import load_sampling_rule
from orchestrator.fleet.registry import get_fleet
from orchestrator.models.cost import ModelCost, measure_cost
from orchestrator.models.initial.loading import load_initial, require_finite_start
from orchestrator.models.parameters import FlatModule
from orchestrator.models.rebuilding import require_reproducible
from orchestrator.models.registry import (
    MODELS,
    construct,
    resolve_builder,
    resolve_memory_format,
    resolve_name,
)
from orchestrator.models.shapes import example_input, random_input
from orchestrator.models.state import pack_state
from orchestrator.models.training_check import smallest_batch
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.tracing import trace_units
from orchestrator.models.units.unit_cost import with_unit_macs


def prepare(config: ExperimentConfig, samples: tuple[Dataset, Partition] | None = None) -> Experiment:
    """Load and check what a run needs. `samples` are the config's data if a caller has loaded them already.

    Raises a RequestError for a config that cannot run.
    """
    fleet = get_fleet(config.fleet.name, config.fleet.sparse_efficiency)
    algorithm_type = load_algorithm(config.algorithm.name)
    if samples is None:
        dataset = load_dataset(config.data)
        partition = split_samples(dataset, config)
    else:
        dataset, partition = samples
    model_spec = resolve_name(config.model.name, dataset.input_shape, default_model(config.data.name))
    build = _builder(config, model_spec, dataset)
    flat = _first_model(config, model_spec, build, dataset)
    initial_file = _load_init(config, flat)
    smallest = _smallest_batch(config, model_spec, flat, dataset, partition)
    cost = _count(config, flat, dataset)
    units = _trace(model_spec, flat, dataset) if algorithm_type.capabilities.submodels else ()
    setting = Setting(
        layout=flat.layout,
        cost=with_unit_macs(cost, flat.module, flat.layout, dataset.input_shape, units),
        training=with_learning_rates(config.training, _task_steps(config.training, partition, smallest)),
        sparsity=with_density_schedule(config.sparsity, config.training.rounds),
        num_clients=config.fleet.num_clients,
        seed=config.seed,
        initial=flat.values.numpy().copy(),
        population=sample_population(
            fleet, config.fleet.num_with_unseen, config.seed, redraw=config.fleet.redraw
        ),
        units=units,
        value_dtype=config.wire.value_dtype,
        smallest_batch=smallest,
    )
    algorithm = algorithm_type(config.algorithm, setting)
    require_support(config, algorithm)
    _require_validation_score(config, partition)
    if algorithm.needs_validation:
        _require_validation(config, partition)
    return Experiment(
        config=config,
        algorithm=algorithm,
        dataset=dataset,
        partition=partition,
        model_spec=model_spec,
        build=build,
        memory_format=resolve_memory_format(config.model, model_spec, dataset.input_shape),
        fixed_state=pack_state(flat.fixed_state()),
        fleet=fleet,
        sources=named_sources(config),
        initial_file=initial_file,
        metrics=load_metrics(config.evaluation.metrics or (), dataset),
        sampling_rule=load_sampling_rule(config.selection.kind),
        aggregation_rule=load_rule(config.aggregation.rule),
    )


def _builder(config: ExperimentConfig, model_spec: str, dataset: Dataset) -> Callable[[], nn.Module]:
    """Return a function that builds the model, and that other processes can call without the user's file."""
    return partial(
        construct,
        model_spec,
        resolve_builder(model_spec),
        dataset.input_shape,
        dataset.num_classes,
        output=config.model.output,
        double_softmax=config.model.double_softmax,
    )


def _first_model(
    config: ExperimentConfig, model_spec: str, build: Callable[[], nn.Module], dataset: Dataset
) -> FlatModule:
    """Build the initial model. Raises ModelError for a user's model that other processes cannot rebuild."""

    def build_once() -> FlatModule:
        with forked_seeds(config.seed, "model"):
            return FlatModule(build())

    flat = build_once()
    if model_spec not in MODELS:
        require_finite_start(model_spec, flat)
        require_reproducible(
            model_spec, flat, build_once(), random_input(dataset.input_shape, dataset.num_classes)
        )
    return flat


def _load_init(config: ExperimentConfig, flat: FlatModule) -> str | None:
    """Load the file of `model.init`, if it is set, and return its SHA-256."""
    if config.model.init is None:
        return None
    return load_initial(config.model.init, flat, config.model.init_names)


def _smallest_batch(
    config: ExperimentConfig, model_spec: str, flat: FlatModule, dataset: Dataset, partition: Partition
) -> int:
    """Return the smallest batch that can train the model. Raises a RequestError for smaller configured batches."""
    if model_spec in MODELS:
        return 1
    example = random_input(dataset.input_shape, dataset.num_classes)
    smallest = smallest_batch(model_spec, flat.module, example, dataset.num_classes)
    problem = f"the model needs batches of at least {smallest} samples"
    if (size := config.training.batch_size) < smallest:
        raise ConfigError("training.batch_size", size, problem, f"use {smallest} or more")
    sizes = partition.train.sizes()
    if (fewest := int(sizes.min())) < smallest:
        raise ConfigError(
            "data.partition.min_samples",
            config.data.partition.min_samples,
            f"client {int(sizes.argmin())} has {fewest} training sample{'s' if fewest > 1 else ''}, and {problem}",
            "raise it, or choose a model without batch statistics",
        )
    return smallest


def _task_steps(training: TrainingConfig, partition: Partition, smallest: int) -> set[int]:
    """Return the numbers of optimiser steps that the clients' tasks have."""
    return {
        training.local_epochs * len(batch_sizes(int(size), training, smallest))
        for size in np.unique(partition.train.sizes())
    }


def _count(config: ExperimentConfig, flat: FlatModule, dataset: Dataset) -> ModelCost:
    """Return the model's cost. Make weights dense if a mask on them would save no operations.

    Raises ConfigError for a sparsity level if no weight can be masked.
    """
    cost = measure_cost(flat.module, flat.layout, dataset.input_shape)
    flat.keep_dense([s.name for s in flat.layout.maskable if s.name not in cost.positions])
    level = config.sparsity.level
    if level and not flat.layout.num_maskable:
        problem = "no weight of the model can be masked"
        raise ConfigError("sparsity.level", level, problem, "leave it unset, or choose another model")
    return cost


def _trace(model_spec: str, flat: FlatModule, dataset: Dataset) -> tuple[UnitGroup, ...]:
    """Return the units of the model. Raises ModelError, with the layer, for a model without submodels."""
    try:
        return trace_units(flat.module, example_input(dataset.input_shape))
    except ModelError as error:
        raise ModelError("model.name", model_spec, f"{error.value}: {error.problem}", error.remedy) from error


def _require_validation_score(config: ExperimentConfig, partition: Partition) -> None:
    """Raise ConfigError if validation samples decide about the rounds, and there are none."""
    stop, keep_best = config.training.stop, config.training.keep_best
    if (stop.patience is None and not keep_best) or partition.validation.sizes()[
        : config.fleet.num_clients
    ].any():
        return
    key, value = ("patience", stop.patience) if stop.patience else ("keep_best", keep_best)
    key = f"training.stop.{key}" if stop.patience else f"training.{key}"
    problem = "no client has validation samples, by which rounds are compared"
    raise ConfigError(key, value, problem, "set data.validation_fraction to 0.1, or leave it unset")


def _require_validation(config: ExperimentConfig, partition: Partition) -> None:
    sizes = partition.validation.sizes()
    if not sizes.all():
        raise ConfigError(
            "data.validation_fraction",
            config.data.validation_fraction,
            f"client {int(sizes.argmin())} has no validation sample, which {config.algorithm.name} needs",
            "raise it",
        )
