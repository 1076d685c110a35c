"""Prepare an experiment: load and check the data, partition, model, method and fleet of a config."""

from collections.abc import Callable
from functools import partial

from torch import nn

from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.data.registry import DATASETS, load_dataset
from orchestrator.errors import ConfigError, ModelError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, split_samples
from orchestrator.experiment.methods import load_algorithm
from orchestrator.federation.algorithm import Algorithm, AnyAlgorithm
from orchestrator.federation.device_assignment import sample_population
from orchestrator.federation.seeds import forked_seeds
from orchestrator.federation.setting import Setting
from orchestrator.fleet.registry import fleet_sources, get_fleet
from orchestrator.models.cost import measure_cost
from orchestrator.models.initial import load_initial, require_finite_start
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
from orchestrator.plugins.loading import sources_of
from orchestrator.plugins.source_files import SourceFiles


def prepare(config: ExperimentConfig, samples: tuple[Dataset, Partition] | None = None) -> Experiment:
    """Load and check everything that a run needs. `samples` are the config's data if a caller has loaded them already.

    Raises a RequestError for a config that cannot run.
    """
    fleet = get_fleet(config.fleet.name, config.fleet.sparse_efficiency)
    algorithm_type = load_algorithm(config.algorithm.name)
    if samples is None:
        dataset = load_dataset(config.data)
        partition = split_samples(dataset, config)
    else:
        dataset, partition = samples
    num_clients = config.fleet.num_clients
    model_spec = resolve_name(
        config.model.name, dataset.input_shape, DATASETS[config.data.name].default_model
    )
    build = partial(
        construct,
        model_spec,
        resolve_builder(model_spec),
        dataset.input_shape,
        dataset.num_classes,
        double_softmax=config.model.double_softmax,
    )
    flat = _first_model(config, model_spec, build, dataset)
    if config.model.init is not None:
        load_initial(config.model.init, flat)
    smallest = _smallest_batch(config, model_spec, flat, dataset, partition)
    cost = measure_cost(flat.module, flat.layout, dataset.input_shape)
    flat.keep_dense([s.name for s in flat.layout.maskable if s.name not in cost.positions])
    _require_maskable(config, flat)
    setting = Setting(
        layout=flat.layout,
        cost=cost,
        training=config.training,
        sparsity=config.sparsity,
        num_clients=num_clients,
        seed=config.seed,
        initial=flat.values.numpy().copy(),
        population=sample_population(fleet, num_clients, config.seed, redraw=config.fleet.redraw),
        units=_trace(model_spec, flat, dataset) if algorithm_type.capabilities.submodels else (),
        value_dtype=config.wire.value_dtype,
        smallest_batch=smallest,
    )
    algorithm = algorithm_type(config.algorithm, setting)
    _require_supported(config, algorithm)
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
    )


def named_sources(config: ExperimentConfig) -> dict[str, SourceFiles]:
    """Return the user's files that a config names, by the name of their section."""
    found = {
        "algorithm": sources_of(config.algorithm.name),
        "model": sources_of(config.model.name),
        "fleet": fleet_sources(config.fleet.name),
    }
    return {section: sources for section, sources in found.items() if sources is not None}


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


def _require_maskable(config: ExperimentConfig, flat: FlatModule) -> None:
    level = config.sparsity.level
    if level and not flat.layout.num_maskable:
        problem = "no weight of the model can be masked"
        raise ConfigError("sparsity.level", level, problem, "leave it unset, or choose another model")


def _require_supported(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject options that the method does not support."""
    _require_plain_rounds(config, algorithm)
    _require_rounding(config, algorithm)


def _require_rounding(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject values that are rounded at random for methods that compute with the values that the server decodes."""
    if config.wire.value_dtype == "int8" and algorithm.capabilities.exact_values:
        problem = f"{config.algorithm.name} computes with the values that the server decodes, and int8 rounds at random"
        raise ConfigError("wire.value_dtype", "int8", problem, "use float16 or bfloat16")


def _require_plain_rounds(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Reject late and surplus tasks for methods whose rounds have probes, or another cohort than the sampled one."""
    probes = ("plan_probe", "probes clients before training")
    plans = ("plan", "chooses itself which clients train")
    peers = ("neighbours", "sends the models of a client's neighbours as they are when its task starts")
    asynchronous, fleet = config.asynchrony.kind != "none", config.fleet
    if algorithm.capabilities.round_bound:
        problem = f"{config.algorithm.name} sends updates that belong to the mask of their round"
        if asynchronous:
            raise ConfigError("asynchrony.kind", config.asynchrony.kind, problem, "use none")
        if fleet.late == "keep":
            raise ConfigError("fleet.late", "keep", problem, "use drop")
    for is_set, key, value, remedy, hooks in (
        (asynchronous, "asynchrony.kind", config.asynchrony.kind, "use none", (probes, plans, peers)),
        (fleet.late == "keep", "fleet.late", "keep", "use drop", (probes, plans, peers)),
        (fleet.over_selection > 1.0, "fleet.over_selection", fleet.over_selection, "use 1", (plans,)),
    ):
        for hook, action in hooks:
            if is_set and getattr(type(algorithm), hook) is not getattr(Algorithm, hook):
                raise ConfigError(key, value, f"{config.algorithm.name} {action}", remedy)


def _trace(model_spec: str, flat: FlatModule, dataset: Dataset) -> tuple[UnitGroup, ...]:
    """Return the units of the model. Raises ModelError, with the layer, for a model without submodels."""
    try:
        return trace_units(flat.module, example_input(dataset.input_shape))
    except ModelError as error:
        raise ModelError("model.name", model_spec, f"{error.value}: {error.problem}", error.remedy) from error


def _require_validation(config: ExperimentConfig, partition: Partition) -> None:
    sizes = partition.validation.sizes()
    if not sizes.all():
        raise ConfigError(
            "data.validation_fraction",
            config.data.validation_fraction,
            f"client {int(sizes.argmin())} has no validation sample, which {config.algorithm.name} needs",
            "raise it",
        )
