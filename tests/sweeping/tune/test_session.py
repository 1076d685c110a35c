"""What another pass of a sweep begins with, on a cluster that has lost a node; no Ray runs."""

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
from orchestrator.sweeping.resources import Share
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper
from orchestrator.sweeping.tune.fit import RemainingTrials, TrialFactory, TuneEnvironment
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.session import planned_anew
from orchestrator.sweeping.tune.tracker import SweepTracker
from tests.support.sweeps import (
    BASE,
    ending,
    new_store,
    request,
)
from tests.support.trial_runs import opened

GIB = 2**30
#: two devices: one that any node holds, one for a node with a camera
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


class Hall:
    """A sweep of that plan with four trials, after its first pass."""

    def __init__(self, plan: SweepPlan, folder: Path) -> None:
        self.plan, self.store, self.printed = plan, new_store(folder), StringIO()
        self.trials = plan.trials()
        self.store.add_trials(self.trials)
        capacity, share = _capacity(camera=1.0), Share(2, 1)
        interruption = SweepStopper()
        display = SweepProgress(console=Console(file=self.printed, width=300))
        tracker = SweepTracker("sw-1", None)
        room = NodeMonitor(capacity, 60.0)
        self.watch = SweepCallback(
            self.store, Objective.parse("accuracy"), tracker, display, interruption, room
        )
        self.around = TuneEnvironment(
            store=self.store,
            tasks=TrialFactory(plan, capacity, share),
            share=share,
            shelf="sw-1/data",
            home=str(folder),
            watch=self.watch,
            interruption=interruption,
        )

    def again(self, begun: RemainingTrials, capacity: Capacity) -> tuple[RemainingTrials, TuneEnvironment]:
        return planned_anew(self.plan, begun, self.around, capacity)


@pytest.fixture
def hall(plan: SweepPlan, tmp_path: Path) -> Hall:
    return Hall(plan, tmp_path / "runs")


def _refusal() -> ConfigError:
    return ConfigError("training.lr", -1, "must be above 0", "raise it")


def test_what_has_not_ended_is_left_whether_it_was_begun_or_not(hall: Hall) -> None:
    with opened(hall.store.folder / "sw-1-002") as run:
        run.step()
    before = ending(hall.trials[0], run_id="sw-1-000", accuracy=0.5)
    hall.store.add_ending(before)
    left, around = hall.again(
        RemainingTrials(trials=hall.trials[1:], recorded=hall.trials, ended={0: before}),
        _capacity(camera=1.0),
    )
    assert [spec.number for spec in left.trials] == [1, 2, 3]
    assert left.ended == {0: before}
    assert left.trials == hall.trials[1:]
    assert around.share == Share(3, 1), "three trials on what are five cores now"


def test_a_trial_that_failed_in_this_process_is_not_left_one_of_an_earlier_process_is(hall: Hall) -> None:
    hall.store.add_ending(ending(hall.trials[1], "failed"))
    hall.watch.refuse(hall.trials[2], _refusal())
    left, _ = hall.again(
        RemainingTrials(trials=hall.trials, recorded=hall.trials, ended={}), _capacity(camera=1.0)
    )
    assert [spec.number for spec in left.trials] == [0, 1, 3]
    assert {n: e.status for n, e in left.ended.items()} == {2: "failed"}


def test_what_the_cluster_does_not_hold_any_more_has_failed_and_the_others_go_on(hall: Hall) -> None:
    board, camera = (
        [spec.number for spec in hall.trials if spec.values["fleet.name"].endswith(f"{name}.yaml")]
        for name in ("board", "camera")
    )
    begun = hall.store.run_folder(camera[0])
    with opened(begun) as run:
        run.step()
    left, _ = hall.again(RemainingTrials(trials=hall.trials, recorded=hall.trials, ended={}), _capacity())
    assert [spec.number for spec in left.trials] == board
    assert left.ended == hall.store.endings()
    assert list(left.ended) == camera
    assert [left.ended[number].run_id for number in camera] == [begun.name, None]
    for number in camera:
        assert left.ended[number].status == "failed"
        assert left.ended[number].cause.startswith("ResourceError: ")
    assert (begun / "summary.json").is_file()
    assert hall.printed.getvalue().count("failed: ResourceError: ") == 2
