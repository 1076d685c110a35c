"""The number of aggregators for a table of clusters, and the errors for clusters that are too small."""

from dataclasses import replace

import pytest
from torch import Tensor

from orchestrator.aggregation.shard_placement import memory_bytes, place_run
from orchestrator.errors import ResourceError
from orchestrator.execution.placement import ACTOR_BYTES, Capacity
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.aggregate import Aggregator
from orchestrator.federation.algorithm import Algorithm, ServerState
from tests.support.runs import prepared

GIB = 2**30


def _experiment(aggregators: object, *overrides: str) -> Experiment:
    """Clients whose actors reserve 0.1 CPU each."""
    return prepared("runtime.executor=ray", f"runtime.aggregators={aggregators}", *overrides)


def _cluster(*cpus: float, memory_gib: float = 64.0) -> Capacity:
    return Capacity(tuple({"CPU": cpu, "memory": memory_gib * GIB} for cpu in cpus))


class _Middle(Aggregator):
    """An average of a method's own."""

    def _mean(self, weighted: Tensor, server: Tensor) -> Tensor:
        return server


class _OwnAggregator(Algorithm[ServerState, None]):
    def aggregator(self) -> Aggregator:
        return _Middle()


def test_small_round_is_added_by_the_driver() -> None:
    _, found = place_run(_experiment("auto"), _cluster(64.0))
    assert (found.count, found.is_notable) == (0, False)
    assert "fewer than 200,000,000" in str(found)


@pytest.mark.parametrize(
    ("cpus", "count"),
    [((2.0,), 0), ((4.0,), 1), ((6.0,), 3), ((3.0, 3.0), 3), ((64.0,), 8)],
)
def test_large_round_uses_the_cores_that_clients_leave_free(cpus: tuple[float, ...], count: int) -> None:
    """Three pooled clients train at the same time."""
    experiment = _experiment("auto", "runtime.actors=pooled", "training.clients_per_round=3")
    clients, found = place_run(experiment, _cluster(*cpus), many_values=1)
    assert found.count == count
    assert len(clients.actors) == min(3, int(sum(cpus)))


def test_configured_number_leaves_the_clients_their_pool() -> None:
    experiment = _experiment(2, "runtime.actors=pooled")
    clients, found = place_run(experiment, _cluster(2.0))
    assert (found.count, str(found)) == (2, "2 aggregators (as configured)")
    assert len(clients.actors) == 2


@pytest.mark.parametrize(("wanted", "cpus"), [(5, 2.0), (1, 0.4)])
def test_more_aggregators_than_fit_are_rejected(wanted: int, cpus: float) -> None:
    with pytest.raises(ResourceError, match=f"runtime.aggregators={wanted}: .*0.5 CPU.*auto"):
        place_run(_experiment(wanted), _cluster(cpus))


def test_aggregators_that_leave_no_memory_are_rejected() -> None:
    with pytest.raises(ResourceError, match=r"runtime\.aggregators=1: .*GiB"):
        place_run(_experiment(1), _cluster(8.0, memory_gib=0.25))


def test_aggregators_that_displace_the_clients_are_rejected() -> None:
    """Two aggregators reserve all of the only core, and a client needs a tenth of one."""
    with pytest.raises(ResourceError, match=r"runtime\.aggregators=2: .*clients do not fit"):
        place_run(_experiment(2), _cluster(1.0))


def test_method_with_an_aggregator_of_its_own_is_added_by_the_driver() -> None:
    experiment = _experiment(2)
    own = _OwnAggregator(experiment.algorithm.config, experiment.setting)
    _, found = place_run(replace(experiment, algorithm=own), _cluster(2.0))
    assert (found.count, found.is_notable) == (0, True)
    assert "aggregator of its own" in str(found)


def test_weights_of_refl_are_computed_by_the_driver() -> None:
    experiment = _experiment(2)
    asynchrony = experiment.config.asynchrony.model_copy(update={"staleness": "refl"})
    config = experiment.config.model_copy(update={"asynchrony": asynchrony})
    _, found = place_run(replace(experiment, config=config), _cluster(2.0))
    assert (found.count, found.is_notable) == (0, True)
    assert "asynchrony.staleness=refl" in str(found)


def test_memory_grows_with_the_slice() -> None:
    experiment = _experiment(2)
    size = experiment.setting.layout.size
    assert memory_bytes(experiment, 2) == ACTOR_BYTES + 16 * size + 8 * size


@pytest.mark.parametrize("rule", ["krum", "multi_krum", "geometric_median"])
def test_rule_that_compares_whole_updates_is_computed_by_the_driver(rule: str) -> None:
    _, found = place_run(
        _experiment(2, f"aggregation.rule={rule}", "training.clients_per_round=5"), _cluster(2.0)
    )
    assert (found.count, found.is_notable) == (0, True)
    assert f"aggregation.rule={rule} compares whole updates" in str(found)


def test_aggregators_of_a_rule_for_each_coordinate_keep_the_updates() -> None:
    """Three clients a round: a value and a position of 8 bytes each, for half of the entries."""
    experiment = _experiment(2, "aggregation.rule=median", "runtime.actors=pooled")
    _, found = place_run(experiment, _cluster(4.0))
    assert found.count == 2
    size = experiment.setting.layout.size
    assert memory_bytes(experiment, 2) == ACTOR_BYTES + 16 * size + 8 * size + 3 * 8 * size
