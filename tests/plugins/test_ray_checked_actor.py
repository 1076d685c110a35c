"""Actors compare the package's source before they do anything, and one line says why an actor cannot start."""

import sys
from types import ModuleType
from typing import Any

import pytest
import ray

from orchestrator.errors import ClusterError, SparsefleetError
from orchestrator.execution.ray_actors import end_actors, get_unwrapped, wait_for_actors
from orchestrator.plugins import ray_checked_actor
from orchestrator.plugins.package_source import PackageSource, package_source
from orchestrator.plugins.ray_checked_actor import actor_class, start_error


class Worker:
    """An actor that remembers its argument."""

    def __init__(self, word: str = "none") -> None:
        if word == "broken":
            raise OSError("no memory\nfor the worker")
        self.word = word

    def answer(self) -> str:
        """The argument of the constructor."""
        return self.word


class Tuned:
    """An actor without a constructor."""

    @ray.method(concurrency_group="rounds")
    def answer(self) -> str:
        """Always the same."""
        return "tuned"


def _actor(cls: type, *arguments: object, **options: Any) -> Any:
    return actor_class(cls, **options).options(num_cpus=0).remote(*arguments)


def test_error_of_a_lost_actor_is_not_an_error_of_its_start() -> None:
    assert start_error(ray.exceptions.ActorDiedError(), "the driver actor") is None
    assert start_error(ValueError("no actor"), "the driver actor") is None


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestOnRay:
    """With real actors."""

    def test_actor_with_the_same_source_has_arguments_and_options(self) -> None:
        actors = [_actor(Worker, "same"), _actor(Tuned, concurrency_groups={"rounds": 1})]
        wait_for_actors(actors)
        assert [get_unwrapped(actor.answer.remote()) for actor in actors] == ["same", "tuned"]
        end_actors(actors)

    def test_actor_does_not_start_in_a_process_with_other_source(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        old = PackageSource("/opt/old/orchestrator", "0" * 64)
        monkeypatch.setattr(ray_checked_actor, "package_source", lambda: old)
        actor = _actor(Worker)
        with pytest.raises(ClusterError) as of_call:
            get_unwrapped(actor.answer.remote())
        with pytest.raises(ClusterError) as of_start:
            wait_for_actors([actor])
        for caught in (of_call, of_start):
            (line,) = str(caught.value).splitlines()
            assert "/opt/old/orchestrator" in line
            assert package_source().place in line

    def test_worker_that_cannot_load_the_class_is_named_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As in an older release, which does not have the module of an actor."""
        module = ModuleType("module_of_a_newer_release")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        newer = type("Newer", (Worker,), {"__module__": module.__name__})
        monkeypatch.setattr(module, "Newer", newer, raising=False)
        actor = _actor(newer)
        with pytest.raises(ClusterError) as caught:
            wait_for_actors([actor])
        (line,) = str(caught.value).splitlines()
        assert "module_of_a_newer_release" in line
        assert f"node {ray.util.get_node_ip_address()}" in line

    def test_worker_that_cannot_load_an_argument_is_named_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        module = ModuleType("arguments_of_a_newer_release")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        argument = type("Argument", (), {"__module__": module.__name__})
        monkeypatch.setattr(module, "Argument", argument, raising=False)
        actor = _actor(Worker, argument())
        with pytest.raises(ClusterError, match="arguments_of_a_newer_release") as caught:
            get_unwrapped(actor.answer.remote(), "the tracker")
        assert str(caught.value).startswith("the tracker ")

    def test_other_error_of_a_constructor_is_one_line(self) -> None:
        with pytest.raises(SparsefleetError) as caught:
            wait_for_actors([_actor(Worker, "broken")])
        assert len(str(caught.value).splitlines()) == 1
