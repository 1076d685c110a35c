"""Decides how many aggregators a run has, and which resources they leave for the clients. Does not import Ray."""

from dataclasses import dataclass
from math import ceil

from orchestrator.errors import ResourceError
from orchestrator.execution.placement import ACTOR_BYTES, Capacity, Placement, place_clients
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.robustness_checks import updates_per_round
from orchestrator.federation.aggregate import AGGREGATORS
from orchestrator.federation.robust.aggregator import COORDINATE_RULES
from orchestrator.formatting import counted

#: key of run.json for the number of aggregators and its reason
AGGREGATION_NOTE = "aggregation"
#: CPUs that an aggregator reserves; it waits while the clients train
AGGREGATOR_CPUS = 0.5
#: bytes for each parameter of the model: a received model with its mask, and an update while it is checked
_BYTES_PER_PARAMETER = 16
#: bytes for each parameter of a slice: float64 sums of values and of weights
_BYTES_PER_SUM = 16
#: bytes for each value of an update that a robust rule keeps: a float64 change and its position
_BYTES_PER_KEPT_VALUE = 16
#: values of a round for which the driver alone needs about half a second
MANY_VALUES = 200_000_000
#: `auto` uses at most this number of aggregators, because every node with an aggregator gets a copy of every update
_AUTO_COUNT = 8


@dataclass(frozen=True, slots=True)
class AggregatorPlacement:
    """The number of aggregators, and why. 0: the driver aggregates. `is_notable`: the user should see the reason."""

    count: int
    reason: str
    is_notable: bool = True

    def __str__(self) -> str:
        who = counted(self.count, "aggregator") if self.count else "the driver aggregates"
        return f"{who} ({self.reason})"


def place_run(
    experiment: Experiment, capacity: Capacity, *, many_values: int = MANY_VALUES
) -> tuple[Placement, AggregatorPlacement]:
    """Place the clients and choose the number of aggregators. Neither changes the result of a run.

    `auto` uses aggregators in rounds of at least `many_values` values.

    Raises ResourceError when the configured number of aggregators, or the clients, do not fit.
    """
    wanted = experiment.config.runtime.aggregators
    if (obstacle := _obstacle(experiment)) is not None:
        return _clients(experiment, capacity), AggregatorPlacement(0, obstacle, wanted != "auto")
    if wanted == "auto":
        return _place_automatically(experiment, capacity, many_values)
    left = capacity.without(_footprint(experiment, wanted), wanted)
    if left is None:
        raise _too_many(wanted, f"{_needs(experiment, wanted)}, which the cluster does not have")
    try:
        return _clients(experiment, left), AggregatorPlacement(wanted, "as configured")
    except ResourceError as error:
        _clients(
            experiment, capacity
        )  # clients that do not fit without aggregators are the problem by themselves
        problem = f"{_needs(experiment, wanted)}, and the clients do not fit into the rest ({error.problem})"
        raise _too_many(wanted, problem) from error


def memory_bytes(experiment: Experiment, count: int) -> int:
    """Return the memory that one of `count` aggregators reserves, in bytes."""
    config, size = experiment.config, experiment.setting.layout.size
    num_kept = 0 if config.aggregation.rule == "mean" else updates_per_round(config)
    per_entry = _BYTES_PER_SUM + _BYTES_PER_KEPT_VALUE * num_kept
    return ACTOR_BYTES + _BYTES_PER_PARAMETER * size + ceil(per_entry * size / count)


def _place_automatically(
    experiment: Experiment, capacity: Capacity, many_values: int
) -> tuple[Placement, AggregatorPlacement]:
    """Use the cores that no client actor uses, if a round has many values."""
    clients, training = _clients(experiment, capacity), experiment.config.training
    values = experiment.setting.layout.size * training.clients_per_round
    if values < many_values:
        reason = f"a round has {values:,} values, fewer than {many_values:,}"
        return clients, AggregatorPlacement(0, reason, is_notable=False)
    count = min(_AUTO_COUNT, capacity.num_cores - len(clients.actors))
    left = capacity.without(_footprint(experiment, count), count) if count > 0 else None
    if left is None or not _fits_as_before(experiment, clients, left):
        return clients, AggregatorPlacement(0, "the clients leave no core free", is_notable=False)
    return clients, AggregatorPlacement(count, "on the cores that the clients leave free")


def _fits_as_before(experiment: Experiment, clients: Placement, left: Capacity) -> bool:
    try:
        return _clients(experiment, left).actors == clients.actors
    except ResourceError:
        return False


def _obstacle(experiment: Experiment) -> str | None:
    """Why the updates of a run cannot be added in slices; None if they can."""
    if (rule := experiment.config.aggregation.rule) not in ("mean", *COORDINATE_RULES):
        return f"aggregation.rule={rule} {'is a function of your own' if ':' in rule else 'compares whole updates'}"
    if experiment.config.asynchrony.staleness == "refl":
        return "asynchrony.staleness=refl compares whole updates"
    if type(experiment.algorithm.aggregator()) in AGGREGATORS.values():
        return None
    return f"{experiment.config.algorithm.name} has an aggregator of its own, which may need whole updates"


def _clients(experiment: Experiment, capacity: Capacity) -> Placement:
    config = experiment.config
    return place_clients(
        config.runtime, capacity, experiment.setting.population, config.training.clients_per_round
    )


def _footprint(experiment: Experiment, count: int) -> dict[str, float]:
    return {"CPU": AGGREGATOR_CPUS, "memory": float(memory_bytes(experiment, count))}


def _needs(experiment: Experiment, count: int) -> str:
    memory = memory_bytes(experiment, count) / 2**30
    return f"{counted(count, 'aggregator')} would reserve {AGGREGATOR_CPUS:g} CPU and {memory:.2g} GiB of memory each"


def _too_many(wanted: int, problem: str) -> ResourceError:
    remedy = "use fewer, use auto, or add nodes to the cluster"
    return ResourceError("runtime.aggregators", wanted, problem, remedy)
