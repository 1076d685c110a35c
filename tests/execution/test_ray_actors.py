"""Client actors on Ray: their footprints, order and names, and the errors of lost actors."""

from dataclasses import replace
from typing import Any

import pytest
import ray

from orchestrator.errors import ActorsLostError, DataError
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import (
    end_actors,
    end_named,
    get_unwrapped,
    once_free,
    reservation,
    start_actors,
    wait_for_actors,
)
from tests.support.fakes import DEVICE


class Worker:
    """An actor that rejects everything."""

    def load(self) -> None:
        """Raises DataError."""
        raise DataError("data.root", "/nowhere", "it does not exist", "give a folder")

    def ping(self) -> str:
        """The answer of a living actor."""
        return "pong"


def _started(name: str) -> Any:
    return ray.remote(Worker).options(name=name, num_cpus=0).remote()


def test_reservation_is_the_footprint_of_the_profile() -> None:
    plain = replace(DEVICE, num_cpus=0.5)
    assert reservation(plain) == {
        "num_cpus": 0.5,
        "num_gpus": 0.0,
        "memory": None,
        "resources": {},
        "accelerator_type": None,
    }
    board = replace(
        DEVICE,
        num_cpus=2.0,
        num_gpus=0.25,
        ray_memory_bytes=2**30,
        resources={"npu": 1.0, "dsp": 0.0},
        accelerator_type="H200",
    )
    assert reservation(board) == {
        "num_cpus": 2.0,
        "num_gpus": 0.25,
        "memory": 2**30,
        "resources": {"npu": 1.0},
        "accelerator_type": "H200",
    }


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    """With real actors."""

    def test_actors_have_their_names_and_the_order_of_the_placement(self) -> None:
        """The larger profile starts first, but the list keeps the placement's order."""
        small, large = replace(DEVICE, num_cpus=0.01), replace(DEVICE, num_cpus=0.02)
        placement = Placement("dedicated", "for the test", (("client-0", 0), ("client-1", 1)))
        actors = start_actors([small, large], placement, "order")
        try:
            wait_for_actors(actors)
            named = [ray.get_actor(f"order/client-{k}") for k in range(2)]
            assert [a._actor_id for a in actors] == [a._actor_id for a in named]
        finally:
            end_actors(actors)

    def test_result_and_error_of_an_actor_come_without_a_wrapper(self) -> None:
        actor = _started("unwrapped")
        assert get_unwrapped(actor.ping.remote()) == "pong"
        with pytest.raises(DataError) as caught:
            get_unwrapped(actor.load.remote())
        assert type(caught.value) is DataError
        assert (caught.value.field, caught.value.value) == ("data.root", "/nowhere")
        end_actors([actor])

    def test_lost_actor_is_named(self) -> None:
        actor = _started("lost")
        end_actors([actor])
        with pytest.raises(ActorsLostError, match="the tracker is lost"):
            get_unwrapped(actor.ping.remote(), "the tracker")

    def test_end_named_spares_one_actor_and_other_runs(self) -> None:
        actors = {name: _started(name) for name in ("run-1/driver", "run-1/tracker", "run-10/driver")}
        end_named("run-1/", but="run-1/tracker")
        with pytest.raises(ActorsLostError):
            get_unwrapped(actors["run-1/driver"].ping.remote())
        survivors = [actors["run-1/tracker"], actors["run-10/driver"]]
        assert [get_unwrapped(actor.ping.remote()) for actor in survivors] == ["pong", "pong"]
        end_actors(survivors)

    def test_name_of_an_ended_actor_is_free_again(self) -> None:
        end_actors([_started("again")])
        actor = once_free(lambda: _started("again"))
        assert get_unwrapped(actor.ping.remote()) == "pong"
        end_actors([actor])
