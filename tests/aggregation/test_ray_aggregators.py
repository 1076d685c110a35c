"""Runs with aggregators on Ray have the bits of runs without them; also when aggregators die and updates are wrong."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.aggregation.ray_aggregators import RayAggregators, start_aggregators
from orchestrator.execution.placement import Placement
from orchestrator.execution.ray_actors import end_actors, start_actors, wait_for_actors
from orchestrator.execution.ray_executor import RayExecutor
from orchestrator.execution.ray_sharing import share
from orchestrator.experiment.experiment import Experiment
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore
from tests.support.runs import drive, prepared

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]

METHOD = ("algorithm.name=feddst", "algorithm.readjust_every=1", "model.name=mlp", "training.rounds=2")
POOL = Placement("pooled", "for all tests", (("pool-default-0", 0),))


class Actors:
    """One client actor and three aggregators, which serve all tests."""

    def __init__(self) -> None:
        experiment = prepared(*METHOD)
        self.clients = start_actors(experiment.setting.profiles, POOL, "shared")
        self.aggregators = start_aggregators(experiment, 3, "shared")
        wait_for_actors([*self.clients, *self.aggregators])

    def drive(self, experiment: Experiment, folder: Path, count: int) -> Driver:
        """Run all rounds of an experiment with this number of aggregators."""
        shared = share(experiment)
        aggregators = RayAggregators(experiment, shared, self.aggregators[:count])
        executor = RayExecutor(experiment, shared, POOL, self.clients, num_cores=1, store=aggregators.store)
        driver = Driver(experiment, executor, RunStore(folder), aggregators=aggregators)
        for _ in driver.run():
            pass
        executor.close()
        return driver


@pytest.fixture(scope="module")
def actors() -> Iterator[Actors]:
    started = Actors()
    yield started
    end_actors([*started.clients, *started.aggregators])


def _without_aggregators(folder: Path, *overrides: str) -> str:
    kept = [override for override in overrides if not override.startswith(("chaos", "runtime"))]
    return drive(prepared(*kept), folder).params_sha256()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_number_of_aggregators_does_not_change_the_bits(actors: Actors, tmp_path: Path, count: int) -> None:
    driver = actors.drive(prepared(*METHOD), tmp_path / "run", count)
    assert driver.params_sha256() == _without_aggregators(tmp_path / "reference", *METHOD)


@pytest.mark.parametrize(
    "overrides",
    [
        ("asynchrony.kind=fedbuff", "asynchrony.buffer_size=2"),
        ("asynchrony.kind=fedasync", "algorithm.name=fedavg"),
        ("fleet.over_selection=1.7",),
        ("algorithm.name=heterofl", "algorithm.ratio_policy=fixed", "algorithm.ratio=0.5"),
        ("algorithm.name=snip",),
    ],
    ids=lambda overrides: overrides[0],
)
def test_kind_of_rounds_does_not_change_the_bits(
    actors: Actors, tmp_path: Path, overrides: tuple[str, ...]
) -> None:
    options = [*METHOD, *overrides]
    if any(override.startswith("algorithm.name") for override in overrides):
        options = [option for option in options if not option.startswith("algorithm.")]
        options += [override for override in overrides if override.startswith("algorithm.")]
    driver = actors.drive(prepared(*options), tmp_path / "run", 2)
    assert driver.params_sha256() == _without_aggregators(tmp_path / "reference", *options)


def test_wrong_updates_are_failures_of_their_clients(actors: Actors, tmp_path: Path) -> None:
    faults = ("not_finite", "wrong_shape", "wrong_mask", "garbage", "stale")
    chaos = [f"chaos.update_{fault}=0.2" for fault in faults]
    options = (*METHOD, "training.rounds=3")
    driver = actors.drive(prepared(*options, *chaos), tmp_path / "run", 2)
    assert driver.params_sha256() == _without_aggregators(tmp_path / "reference", *options)
    lines = (tmp_path / "run" / "failures.jsonl").read_text().splitlines()
    failures = [json.loads(line) for line in lines]
    assert {failure["stage"] for failure in failures} == {"admission"}
    causes = " ".join(failure["cause"] for failure in failures)
    assert "not finite" in causes
    assert "checksum" in causes or "not a Sparsefleet message" in causes


def test_aggregator_that_dies_adds_its_slice_again(actors: Actors, tmp_path: Path) -> None:
    """With this seed the fault hits round 1, and aggregator 1 of two."""
    chaos = ("runtime.executor=ray", "runtime.aggregators=2", "chaos.aggregator_dies=0.5")
    driver = actors.drive(prepared(*METHOD, *chaos), tmp_path / "run", 2)
    assert driver.params_sha256() == _without_aggregators(tmp_path / "reference", *METHOD)
    (line,) = (tmp_path / "run" / "failures.jsonl").read_text().splitlines()
    failure = json.loads(line)
    assert (failure["round_idx"], failure["client_id"], failure["stage"]) == (1, -1, "aggregator")
    assert "aggregator 1 died" in failure["cause"]
