"""From a config to everything a run needs, checked: data, split, model, method and fleet."""

from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from algorithms import load_algorithm
from orchestrator.data.dataset import Dataset
from orchestrator.data.partition import Partition
from orchestrator.data.registry import DATASETS, load_dataset
from orchestrator.errors import ConfigError, ModelError
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment, split_samples
from orchestrator.federation.algorithm import Algorithm, AnyAlgorithm
from orchestrator.federation.device_assignment import draw_population
from orchestrator.federation.seeds import forked_torch_seed
from orchestrator.federation.setting import Setting
from orchestrator.fleet.registry import get_fleet
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import FlatModule, ParameterLayout
from orchestrator.models.registry import construct, resolve_builder, resolve_name
from orchestrator.models.shapes import example_input
from orchestrator.models.unit_tracing import trace_units
from orchestrator.models.units import UnitGroup


def prepare(config: ExperimentConfig, samples: tuple[Dataset, Partition] | None = None) -> Experiment:
    """Load and check everything; `samples` are the config's own, where they are loaded already.

    Raises a RequestError for whatever cannot be done as asked.
    """
    fleet = get_fleet(config.fleet.name)
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
    with forked_torch_seed(config.seed, "model"):
        flat = FlatModule(build())
    initial = flat.values if config.model.init is None else _load_initial(config.model.init, flat.layout)
    setting = Setting(
        layout=flat.layout,
        cost=measure_cost(flat.module, flat.layout, dataset.input_shape),
        training=config.training,
        sparsity=config.sparsity,
        num_clients=num_clients,
        seed=config.seed,
        initial=initial.numpy().copy(),
        population=draw_population(fleet, num_clients, config.seed, redraw=config.fleet.redraw),
        units=_trace(model_spec, flat, dataset) if algorithm_type.uses_units else (),
        value_dtype=config.wire.value_dtype,
    )
    algorithm = algorithm_type(config.algorithm, setting)
    _require_plain_rounds(config, algorithm)
    if algorithm.needs_validation:
        _require_validation(config, partition)
    return Experiment(
        config=config,
        algorithm=algorithm,
        dataset=dataset,
        partition=partition,
        model_spec=model_spec,
        build=build,
        fleet=fleet,
    )


def _require_plain_rounds(config: ExperimentConfig, algorithm: AnyAlgorithm) -> None:
    """Tasks that outlive their round, or are not needed, want rounds that are one training phase of those drawn."""
    probes = ("plan_probe", "asks clients before it trains")
    plans = ("plan", "decides itself who trains")
    asynchronous, fleet = config.asynchrony.kind != "none", config.fleet
    for asked, key, value, remedy, hooks in (
        (asynchronous, "asynchrony.kind", config.asynchrony.kind, "use none", (probes, plans)),
        (fleet.late == "keep", "fleet.late", "keep", "use drop", (probes, plans)),
        (fleet.over_selection > 1.0, "fleet.over_selection", fleet.over_selection, "use 1", (plans,)),
    ):
        for hook, what in hooks:
            if asked and getattr(type(algorithm), hook) is not getattr(Algorithm, hook):
                raise ConfigError(key, value, f"{config.algorithm.name} {what}, in rounds of its own", remedy)


def _trace(model_spec: str, flat: FlatModule, dataset: Dataset) -> tuple[UnitGroup, ...]:
    """The model's units. Raises ModelError, naming the place in the model, where it cannot be cut."""
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


def _load_initial(path: Path, layout: ParameterLayout) -> Tensor:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            "model.init", path, f"cannot be read ({error})", "name a .safetensors file of this model"
        ) from error
    expected = {s.name: s.shape for s in layout.segments}
    got = {name: tuple(t.shape) for name, t in tensors.items()}
    if got != expected:
        name = next(n for n in [*expected, *got] if expected.get(n) != got.get(n))
        problem = f"tensor {name} has shape {got.get(name)}, the model wants {expected.get(name)}"
        raise ModelError("model.init", path, problem, "use a file saved from the same model")
    return torch.cat([tensors[s.name].to(torch.float32).reshape(-1) for s in layout.segments])
