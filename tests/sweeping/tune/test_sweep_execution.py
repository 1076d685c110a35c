"""The next pass of a sweep on a cluster that has lost a node. No Ray cluster runs."""

from io import StringIO
from pathlib import Path

import pytest
import ray
from rich.console import Console

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError
from orchestrator.execution.placement import Capacity
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.plan import SweepPlan, plan_sweep
from orchestrator.sweeping.resources import ClusterDivision
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper
from orchestrator.sweeping.tune.fit import RemainingTrials, TrialFactory, TuneEnvironment
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.sweep_execution import plan_next_pass
from orchestrator.sweeping.tune.tracker import SweepTracker
from tests.support.sweeps import (
    BASE,
    ending,
    new_store,
    request,
)
from tests.support.trial_runs import opened

GIB = 2**30
#: two devices: `board` fits on any node, `camera` needs a node with a camera
FLEET = """
profiles:
  - {name: board, num_cpus: 0.5, flops_per_s: 1e9, uplink_bytes_per_s: 1e6, downlink_bytes_per_s: 1e6}
"""
CAMERA = FLEET.replace("board, ", "camera, resources: {camera: 1}, ")


@pytest.fixture
def plan(tmp_path: Path) -> SweepPlan:
    (tmp_path / "board.yaml").write_text(FLEET)
    (tmp_path / "camera.yaml").write_text(CAMERA)
    fleets = [str(tmp_path / "board.yaml"), str(tmp_path / "camera.yaml")]
    config = {**BASE, "runtime": {"executor": "ray"}}
    return plan_sweep(request(config=config, overrides={"fleet.name": fleets}))


def _capacity(**more: float) -> Capacity:
    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return Capacity(({"CPU": 5.0, "memory": 8.0 * GIB, f"node:{address}": 1.0, **more},))


class SweepAfterFirstPass:
    """A sweep of the plan with four trials, after its first pass."""

    def __init__(self, plan: SweepPlan, folder: Path) -> None:
        self.plan, self.store, self.printed = plan, new_store(folder), StringIO()
        self.trials = plan.trials()
        self.store.add_trials(self.trials)
        capacity, division = _capacity(camera=1.0), ClusterDivision(2, 1)
        stopper = SweepStopper()
        display = SweepProgress(console=Console(file=self.printed, width=300))
        tracker = SweepTracker("sw-1", None)
        node_monitor = NodeMonitor(capacity, 60.0)
        self.callback = SweepCallback(
            self.store, Objective.parse("accuracy"), tracker, display, stopper, node_monitor
        )
        self.environment = TuneEnvironment(
            store=self.store,
            make_task=TrialFactory(plan, capacity, division),
            division=division,
            dataset_cache="sw-1/data",
            home=str(folder),
            tracker=tracker,
            callback=self.callback,
            stopper=stopper,
        )

    def next_pass(
        self, first: RemainingTrials, capacity: Capacity
    ) -> tuple[RemainingTrials, TuneEnvironment]:
        return plan_next_pass(self.plan, first, self.environment, capacity)


@pytest.fixture
def swept(plan: SweepPlan, tmp_path: Path) -> SweepAfterFirstPass:
    return SweepAfterFirstPass(plan, tmp_path / "runs")


def _config_error() -> ConfigError:
    return ConfigError("training.lr", -1, "must be above 0", "raise it")


def test_next_pass_runs_started_and_unstarted_trials_without_ending(swept: SweepAfterFirstPass) -> None:
    with opened(swept.store.folder / "sw-1-002") as run:
        run.step()
    before = ending(swept.trials[0], run_id="sw-1-000", validation_accuracy=0.5)
    swept.store.add_ending(before)
    left, environment = swept.next_pass(
        RemainingTrials(trials=swept.trials[1:], recorded=swept.trials, ended={0: before}),
        _capacity(camera=1.0),
    )
    assert [spec.number for spec in left.trials] == [1, 2, 3]
    assert left.ended == {0: before}
    assert left.trials == swept.trials[1:]
    assert environment.division == ClusterDivision(3, 1), "three trials on five cores"


def test_next_pass_retries_failures_of_an_earlier_process_only(swept: SweepAfterFirstPass) -> None:
    swept.store.add_ending(ending(swept.trials[1], "failed"))
    swept.callback.reject_trial(swept.trials[2], _config_error())
    left, _ = swept.next_pass(
        RemainingTrials(trials=swept.trials, recorded=swept.trials, ended={}), _capacity(camera=1.0)
    )
    assert [spec.number for spec in left.trials] == [0, 1, 3]
    assert {n: e.status for n, e in left.ended.items()} == {2: "failed"}


def test_trials_that_no_longer_fit_fail_and_the_others_continue(swept: SweepAfterFirstPass) -> None:
    board, camera = (
        [spec.number for spec in swept.trials if spec.values["fleet.name"].endswith(f"{name}.yaml")]
        for name in ("board", "camera")
    )
    started = swept.store.run_folder(camera[0])
    with opened(started) as run:
        run.step()
    left, _ = swept.next_pass(
        RemainingTrials(trials=swept.trials, recorded=swept.trials, ended={}), _capacity()
    )
    assert [spec.number for spec in left.trials] == board
    assert left.ended == swept.store.endings()
    assert list(left.ended) == camera
    assert [left.ended[number].run_id for number in camera] == [started.name, None]
    for number in camera:
        assert left.ended[number].status == "failed"
        assert left.ended[number].cause.startswith("ResourceError: ")
    assert (started / "summary.json").is_file()
    assert swept.printed.getvalue().count("failed: ResourceError: ") == 2
