"""The task of a trial: plain values that survive JSON, actors and resource bundles."""

import json
from types import SimpleNamespace

import pytest

from orchestrator.config.overrides import apply_overrides
from orchestrator.execution.placement import Capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.sweeping.resources import ClusterDivision, trial_footprint
from orchestrator.sweeping.tune.trial import TrialTask, TuneTrial, trial_name
from tests.support.sweeps import trial

HOME = "node:10.0.0.1"


def _task(*overrides: str) -> TrialTask:
    capacity = Capacity(({"CPU": 8.0, "memory": 64.0 * 2**30, HOME: 1.0},))
    config = ExperimentConfig.parse(apply_overrides({}, overrides))
    return TrialTask.of(
        trial(7, training__lr=0.1), trial_footprint(config, capacity, ClusterDivision(2, 3), HOME)
    )


@pytest.mark.parametrize(
    "overrides",
    [("runtime.executor=inprocess",), (), ("fleet.name=five-tier",), ("runtime.actors=dedicated",)],
)
def test_task_round_trips_through_json(overrides: tuple[str, ...]) -> None:
    task = _task(*overrides)
    assert TrialTask(**task.to_dict()) == task
    read = TrialTask(**json.loads(json.dumps(task.to_dict())))
    assert (read.number, read.values, read.placement) == (7, {"training.lr": 0.1}, task.placement)


def test_in_process_task_has_no_actors() -> None:
    task = _task("runtime.executor=inprocess")
    assert (task.actors, task.placement, task.bundles) == (None, None, ({"CPU": 1.0, HOME: 0.001},))


@pytest.mark.parametrize(("actors", "mode"), [("auto", "pooled"), ("dedicated", "dedicated")])
def test_task_lists_the_client_actors(actors: str, mode: str) -> None:
    task = _task(f"runtime.actors={actors}")
    assert task.placement is not None
    assert task.placement.mode == mode
    assert task.actors == task.placement.actors
    assert len(task.bundles) == 1 + len(task.placement.actors)


@pytest.mark.parametrize(("number", "name"), [(0, "000"), (41, "041"), (1000, "1000")])
def test_trial_name_is_the_number(number: int, name: str) -> None:
    assert trial_name(SimpleNamespace(config={"trial": {"number": number}})) == name
    assert int(name) == number


def test_placement_group_starts_with_the_driver_s_bundle() -> None:
    task = _task()
    factory = TuneTrial.default_resource_request({"trial": task.to_dict()})
    assert factory.bundles == [dict(bundle) for bundle in task.bundles]
    assert factory.head_bundle_is_empty is False
