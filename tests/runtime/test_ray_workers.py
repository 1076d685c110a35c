"""The command starts a run's client actors and aggregators, and passes their handles to the driver."""

import pytest
import ray
from ray.util import list_named_actors

from orchestrator.errors import ResourceError
from orchestrator.execution.ray_actors import end_actors, wait_for_actors
from orchestrator.runtime.ray_workers import start_workers
from tests.support.runs import prepared

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]
POOL = ("runtime.actors=pooled", "runtime.pool_size=1")


def test_actors_start_under_the_name_of_their_run() -> None:
    workers = start_workers(prepared(*POOL, "runtime.executor=ray", "runtime.aggregators=1"), "run-8")
    try:
        wait_for_actors(workers.actors, 60.0)
        names = sorted(name for name in list_named_actors() if name.startswith("run-8/"))
        assert names == ["run-8/aggregator-0", *(f"run-8/{name}" for name, _ in workers.placement.actors)]
        assert (len(workers.clients), workers.aggregation.count) == (1, 1)
        assert workers.num_cores == int(ray.cluster_resources()["CPU"])
    finally:
        end_actors(workers.actors)


def test_nothing_starts_if_the_actors_do_not_fit() -> None:
    with pytest.raises(ResourceError):
        start_workers(prepared("runtime.actors=pooled", "runtime.pool_size=1000"), "run-9")
    assert not [name for name in list_named_actors() if name.startswith("run-9/")]
