"""What the sweep's process writes down when trials report and end; no Ray runs, and nothing is tracked."""

import json
import re
from dataclasses import replace
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import CheckpointError, ConfigError, TrackingError
from orchestrator.execution.placement import Capacity
from orchestrator.runtime.restart_counter import MAX_LOSSES
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper, progress
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.not_pickled import NotPickled
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.tracking.record import read_records
from tests.support.sweeps import ending, new_store, trial
from tests.support.trial_runs import finish, opened
from tests.support.watched import (
    ACCURACY,
    HERE,
    Hall,
    TuneSide,
)


class TestProgress:
    """The sweep's own metrics."""

    def test_trials_are_counted_and_the_best_is_named(self) -> None:
        ended = {
            0: ending(trial(0), accuracy=0.2),
            1: ending(trial(1), "stopped", accuracy=0.9),
            2: ending(trial(2), accuracy=0.5),
            3: ending(trial(3), "failed"),
        }
        assert progress(ended, ACCURACY, 4) == {
            "sweep/num_finished": 2.0,
            "sweep/num_stopped": 1.0,
            "sweep/num_failed": 1.0,
            "sweep/num_losses": 4.0,
            "sweep/best_accuracy": 0.9,
        }

    def test_less_is_better_where_the_goal_says_so(self) -> None:
        ended = {n: ending(trial(n), time_to_accuracy_s=t) for n, t in enumerate([inf, 3.0, 5.0])}
        assert (
            progress(ended, Objective.parse("time_to_accuracy=0.5"), 0)["sweep/best_time_to_accuracy_s"]
            == 3.0
        )

    def test_the_first_of_two_goals_counts(self) -> None:
        found = progress({0: ending(trial(0), accuracy=0.2, upload_bytes=3.0)}, Objective.parse("pareto"), 0)
        assert [name for name in found if "best" in name] == ["sweep/best_accuracy"]

    def test_without_a_value_there_is_no_best(self) -> None:
        assert list(progress({0: ending(trial(0), "failed")}, ACCURACY, 0).values()) == [0.0, 0.0, 1.0, 0.0]
        assert list(progress({}, ACCURACY, 0).values()) == [0.0] * 4


@pytest.fixture
def hall(tmp_path: Path) -> Hall:
    return Hall(new_store(tmp_path))


def _result(run_id: str, rounds: int, accuracy: float) -> dict[str, Any]:
    return {"round": rounds, "run_id": run_id, "done": rounds == 4, "accuracy": accuracy}


def test_a_trial_that_finishes_is_noted_with_its_objective(hall: Hall) -> None:
    finish(hall.store.folder / "sw-1-000")
    last = _result("sw-1-000", 4, 0.75)
    side = TuneSide(0, last)
    hall.watch.on_trial_start(1, [], side)
    hall.watch.on_trial_result(1, [], side, last)
    hall.watch.on_trial_complete(1, [], side)
    spec = trial(0, algorithm__name="feddst", training__lr=0.1)
    assert hall.store.endings() == {0: ending(spec, run_id="sw-1-000", accuracy=0.75)}
    (record,) = read_records(hall.store.folder / "metrics.jsonl")
    assert record.metrics["sweep/best_accuracy"] == 0.75
    assert hall.lines() == ["trial 1/0  feddst lr=0.1  finished  accuracy 0.75"]


def test_a_trial_whose_evaluations_are_not_finite_is_noted(hall: Hall) -> None:
    folder = hall.store.folder / "sw-1-000"
    finish(folder)
    summary = RunSummary.read(folder / "summary.json")
    (folder / "summary.json").write_text(replace(summary, num_not_finite=2).to_json())
    hall.watch.on_trial_complete(1, [], TuneSide(0, _result("sw-1-000", 4, 0.75)))
    note = f"sw-1-000: 2 of {summary.num_rounds} rounds have evaluations that are not finite"
    assert hall.lines()[0] == note


def test_a_trial_that_the_scheduler_stops_gets_a_summary(hall: Hall) -> None:
    folder = hall.store.folder / "sw-1-000"
    with opened(folder) as run:
        last = run.step()
    side = TuneSide(0, last)
    hall.watch.on_trial_result(1, [], side, last)
    hall.watch.on_trial_complete(1, [], side)
    found = hall.store.endings()[0]
    assert (found.status, found.objective) == ("stopped", {"accuracy": last["accuracy"]})
    summary = RunSummary.read(folder / "summary.json")
    assert (summary.interrupted, summary.num_rounds, summary.accuracy) == (True, 2, last["accuracy"])


def test_a_trial_that_fails_is_noted_with_its_cause(hall: Hall, tmp_path: Path) -> None:
    folder = hall.store.folder / "sw-1-000"
    with opened(folder) as run:
        run.step()
    side = TuneSide.failed(0, tmp_path, "orchestrator.errors.RoundError: too few")
    hall.watch.on_trial_error(1, [], side)
    found = hall.store.endings()[0]
    assert (found.status, found.run_id, found.cause) == ("failed", "sw-1-000", "RoundError: too few")
    assert found.objective == {}
    assert RunSummary.read(folder / "summary.json").interrupted
    kept = (hall.store.folder / "failures" / "000.txt").read_text()
    assert "Traceback:\norchestrator.errors.RoundError: too few" in kept


def test_a_trial_that_fails_before_it_has_a_run_has_none(hall: Hall, tmp_path: Path) -> None:
    (hall.store.folder / "sw-1-000").mkdir()
    hall.watch.on_trial_error(1, [], TuneSide.failed(0, tmp_path, "DataError: no data"))
    assert hall.store.endings()[0].run_id is None
    assert hall.lines() == ["trial 1/0  feddst lr=0.1  failed: DataError: no data"]


@pytest.mark.parametrize("error", ["orchestrator.errors.ActorsLostError: gone", "The actor died: gone"])
def test_a_trial_that_loses_its_actors_goes_on_until_it_gets_nowhere(
    hall: Hall, tmp_path: Path, error: str
) -> None:
    side = TuneSide.failed(0, tmp_path, error)
    side_file = Path(str(side.error_file))
    if error.startswith("The"):
        side_file.write_text(f"Failure # 1 (occurred at 2026-01-01)\n{error}\n")
    with opened(hall.store.folder / "sw-1-000") as run:
        for num_rounds in (0, 2):
            for _ in range(MAX_LOSSES):
                hall.watch.on_trial_error(1, [], side)
                assert hall.begin_anew()
                assert not hall.begin_anew()
            if num_rounds == 0:
                run.step()
    assert (hall.store.endings(), hall.watch.ended_here) == ({}, frozenset())
    noted = [json.loads(line) for line in (hall.store.folder / "losses.jsonl").read_text().splitlines()]
    assert [(loss["number"], loss["rounds"]) for loss in noted] == [(0, 0)] * 3 + [(0, 2)] * 3
    assert re.match(r"trial 0 lost its actors \(.*: gone\); ", hall.lines()[0])

    hall.watch.on_trial_error(1, [], side)
    assert not hall.begin_anew()
    assert (hall.store.endings()[0].status, hall.watch.ended_here) == ("failed", {0})


@pytest.mark.parametrize(
    ("together", "statuses", "over"),
    [
        (False, ["RUNNING", "PENDING"], False),
        (False, ["PENDING", "TERMINATED", "ERROR"], True),
        (True, ["RUNNING", "PAUSED"], True),
    ],
)
def test_a_pass_ends_for_a_lost_trial_once_nobody_is_at_work(
    tmp_path: Path, together: bool, statuses: list[str], over: bool
) -> None:
    hall = Hall(new_store(tmp_path), together=together)
    lost = TuneSide.failed(9, tmp_path, "orchestrator.errors.ActorsLostError: gone")
    others = [TuneSide(number) for number in range(len(statuses))]
    for other, status in zip(others, statuses, strict=True):
        other.status = status
    hall.watch.on_trial_error(1, [lost, *others], lost)
    lost.status = "ERROR"
    assert not hall.interruption.stop_all()
    hall.watch.on_step_end(1, [lost, *others])
    assert (hall.interruption.stop_all(), hall.interruption.requested) == (over, False)
    assert hall.begin_anew()
    assert not hall.interruption.stop_all()


def test_the_last_one_at_work_ends_the_pass_when_it_ends(hall: Hall, tmp_path: Path) -> None:
    finish(hall.store.folder / "sw-1-000")
    last = TuneSide(0, _result("sw-1-000", 4, 0.75))
    lost = TuneSide.failed(9, tmp_path, "orchestrator.errors.ActorsLostError: gone")
    hall.watch.on_trial_result(1, [last, lost], last, last.last_result)
    hall.watch.on_trial_error(1, [last, lost], lost)
    lost.status = "ERROR"
    hall.watch.on_step_end(1, [last, lost])
    assert not hall.interruption.stop_all()
    hall.watch.on_trial_complete(1, [last, lost], last)
    last.status = "TERMINATED"
    hall.watch.on_step_end(2, [last, lost])
    assert hall.interruption.stop_all()


@pytest.mark.parametrize(
    ("statuses", "over"),
    [
        (["PENDING", "TERMINATED"], True),
        (["PAUSED", "ERROR"], True),
        (["PENDING", "RUNNING"], False),
        (["TERMINATED", "ERROR"], False),
    ],
)
def test_a_pass_ends_when_all_that_is_left_waits_for_a_node_that_is_gone(
    hall: Hall, statuses: list[str], over: bool
) -> None:
    sides = [TuneSide(number) for number in range(len(statuses))]
    for side, status in zip(sides, statuses, strict=True):
        side.status = status
    hall.watch.on_step_end(1, sides)
    hall.nodes = [HERE]
    for _ in range(2):
        assert not hall.interruption.stop_all()
        hall.watch.on_step_end(2, sides)
    assert (hall.interruption.stop_all(), hall.interruption.requested) == (over, False)
    note = "trials wait, and nodes that they were planned on are gone (10.0.0.2): they are placed anew"
    assert hall.lines() == [note] * over
    assert hall.begin_anew() == over
    for _ in range(3):
        hall.watch.on_step_end(3, sides)
    assert not hall.begin_anew(), "it is planned on one node now"


def test_a_cluster_that_cannot_be_asked_ends_the_sweep(tmp_path: Path) -> None:
    lost = ConnectionError("no answer")

    def ask() -> Capacity:
        raise lost

    interruption, tracker = SweepStopper(), SweepTracker("sw-1", None)
    room = NodeMonitor(Capacity((HERE,)), 60.0, capacity=ask)
    watch = SweepCallback(
        new_store(tmp_path), ACCURACY, tracker, SweepProgress(quiet=True), interruption, room
    )
    waiting = TuneSide(0)
    waiting.status = "PENDING"
    watch.on_step_end(1, [waiting])
    assert (watch.problem, interruption.requested) == (lost, True)


def test_without_a_loss_nothing_ends_a_pass(hall: Hall) -> None:
    hall.watch.on_step_end(1, [TuneSide(0)])
    hall.watch.on_step_end(1, [])
    assert not hall.interruption.stop_all()


def test_a_run_that_was_complete_has_finished_whatever_became_of_its_actor(
    hall: Hall, tmp_path: Path
) -> None:
    summary = finish(hall.store.folder / "sw-1-000")
    hall.watch.on_trial_error(1, [], TuneSide.failed(0, tmp_path, "RoundError: too few"))
    found = hall.store.endings()[0]
    assert (found.status, found.run_id, found.cause) == ("finished", "sw-1-000", "")
    assert found.objective == {"accuracy": summary.accuracy}
    assert not RunSummary.read(hall.store.folder / "sw-1-000" / "summary.json").interrupted


def test_a_trial_that_goes_wrong_by_itself_is_not_repeated(hall: Hall, tmp_path: Path) -> None:
    hall.watch.on_trial_error(1, [], TuneSide.failed(0, tmp_path, "RoundError: too few"))
    assert not hall.begin_anew()
    assert hall.store.endings()[0].status == "failed"


def test_a_trial_that_cannot_be_has_failed_before_it_began(hall: Hall) -> None:
    spec = trial(3, algorithm__name="feddst", training__lr=0.1)
    hall.watch.refuse(spec, ConfigError("training.lr", -1, "must be above 0", "raise it"))
    found = hall.store.endings()[3]
    cause = "ConfigError: training.lr=-1: must be above 0; raise it"
    assert (found.status, found.run_id, found.cause) == ("failed", None, cause)
    assert hall.watch.ended_here == {3}
    assert not hall.interruption.requested


def test_what_goes_wrong_in_the_watch_ends_the_sweep(hall: Hall) -> None:
    (hall.store.folder / "sw-1-000").mkdir()
    hall.watch.on_trial_result(1, [], TuneSide(0), _result("sw-1-000", 1, 0.5))
    assert hall.interruption.requested
    assert isinstance(hall.watch.problem, CheckpointError)


def test_runs_that_an_interruption_leaves_are_summarised(hall: Hall) -> None:
    folder = hall.store.folder / "sw-1-000"
    with opened(folder) as run:
        last = run.step()
    hall.watch.on_trial_result(1, [], TuneSide(0, last), last)
    hall.watch.interrupted()
    assert RunSummary.read(folder / "summary.json").interrupted
    assert hall.store.endings() == {}


def test_a_failure_of_which_nothing_is_known_is_noted(hall: Hall) -> None:
    hall.watch.on_trial_error(1, [], TuneSide(0))
    assert hall.store.endings()[0].cause == "Tune gives no cause"


def test_a_run_that_another_one_follows_is_summarised(hall: Hall) -> None:
    """Population-based training: the trial goes on in a new run."""
    for name in ("sw-1-000", "sw-1-000-g1"):
        with opened(hall.store.folder / name) as run:
            run.step()
    side = TuneSide(0)
    hall.watch.on_trial_result(1, [], side, _result("sw-1-000", 2, 0.5))
    assert not (hall.store.folder / "sw-1-000" / "summary.json").exists()
    hall.watch.on_trial_result(2, [], side, _result("sw-1-000-g1", 2, 0.6))
    assert RunSummary.read(hall.store.folder / "sw-1-000" / "summary.json").interrupted
    assert not (hall.store.folder / "sw-1-000-g1" / "summary.json").exists()


def test_endings_of_an_earlier_process_count(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.add_ending(ending(trial(1), accuracy=0.9))
    hall = Hall(store)
    hall.watch.on_trial_error(1, [], TuneSide(0))
    (record,) = read_records(store.folder / "metrics.jsonl")
    assert record.metrics == {
        "sweep/num_finished": 1.0,
        "sweep/num_stopped": 0.0,
        "sweep/num_failed": 1.0,
        "sweep/num_losses": 0.0,
        "sweep/best_accuracy": 0.9,
    }


def test_a_tracker_that_was_refused_ends_the_sweep(tmp_path: Path) -> None:
    refused = TrackingError("no permission")

    def check() -> None:
        raise refused

    interruption = SweepStopper()
    watch = SweepCallback(
        new_store(tmp_path),
        ACCURACY,
        SimpleNamespace(check=check),  # type: ignore[arg-type]
        SweepProgress(quiet=True),
        interruption,
        NodeMonitor(Capacity(()), 60.0),
    )
    watch.on_trial_start(1, [], TuneSide(0))
    assert (watch.problem, interruption.stop_all()) == (refused, True)


def test_an_interruption_ends_all_or_none() -> None:
    interruption = SweepStopper()
    assert (interruption.stop_all(), interruption("000", {})) == (False, False)
    interruption.request()
    assert (interruption.stop_all(), interruption("000", {})) == (True, False)


def test_without_mlflow_the_tracker_does_nothing() -> None:
    tracker = SweepTracker("sw-1", None)
    tracker.check()
    tracker.advance("r", 1)
    assert (tracker.close(), tracker.spent_s) == (None, 0.0)


def test_tune_s_own_state_has_nothing_of_ours() -> None:
    class Mine(NotPickled):
        def __init__(self) -> None:
            self.large = [0] * 100

    assert Mine().__getstate__() == {}
    assert SweepStopper().__getstate__() == {}
