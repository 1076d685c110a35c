"""What the callback records when trials report and end. No Ray cluster runs, and MLflow is off."""

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
from orchestrator.runtime.run_folder import RAY_LOG
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.tune.callback import SweepCallback, SweepStopper, sweep_metrics
from orchestrator.sweeping.tune.node_monitor import NodeMonitor
from orchestrator.sweeping.tune.tracker import SweepTracker
from orchestrator.tracking.record import read_records
from tests.support.sweep_callbacks import (
    ACCURACY,
    HERE,
    CallbackHarness,
    FakeTuneTrial,
)
from tests.support.sweeps import ending, new_store, trial
from tests.support.trial_runs import finish, opened


class TestSweepMetrics:
    """`sweep_metrics`."""

    def test_metrics_count_trials_and_report_the_best_value(self) -> None:
        ended = {
            0: ending(trial(0), validation_accuracy=0.2),
            1: ending(trial(1), "stopped", validation_accuracy=0.9),
            2: ending(trial(2), validation_accuracy=0.5),
            3: ending(trial(3), "failed"),
        }
        assert sweep_metrics(ended, ACCURACY, 4) == {
            "sweep/num_finished": 2.0,
            "sweep/num_stopped": 1.0,
            "sweep/num_failed": 1.0,
            "sweep/num_losses": 4.0,
            "sweep/best_validation_accuracy": 0.9,
        }

    def test_best_value_of_a_minimised_goal_is_the_smallest(self) -> None:
        ended = {n: ending(trial(n), validation_time_to_accuracy_s=t) for n, t in enumerate([inf, 3.0, 5.0])}
        assert (
            sweep_metrics(ended, Objective.parse("time_to_accuracy=0.5"), 0)[
                "sweep/best_validation_time_to_accuracy_s"
            ]
            == 3.0
        )

    def test_best_value_is_of_the_first_goal(self) -> None:
        found = sweep_metrics(
            {0: ending(trial(0), validation_accuracy=0.2, upload_bytes=3.0)}, Objective.parse("pareto"), 0
        )
        assert [name for name in found if "best" in name] == ["sweep/best_validation_accuracy"]

    def test_metrics_have_no_best_without_a_value(self) -> None:
        assert list(sweep_metrics({0: ending(trial(0), "failed")}, ACCURACY, 0).values()) == [
            0.0,
            0.0,
            1.0,
            0.0,
        ]
        assert list(sweep_metrics({}, ACCURACY, 0).values()) == [0.0] * 4


@pytest.fixture
def harness(tmp_path: Path) -> CallbackHarness:
    return CallbackHarness(new_store(tmp_path))


def _result(run_id: str, rounds: int, accuracy: float) -> dict[str, Any]:
    return {"round": rounds, "run_id": run_id, "done": rounds == 4, "validation_accuracy": accuracy}


def test_finished_trial_is_recorded_with_its_objective(harness: CallbackHarness) -> None:
    finish(harness.store.folder / "sw-1-000")
    last = _result("sw-1-000", 4, 0.75)
    side = FakeTuneTrial(0, last)
    harness.callback.on_trial_start(1, [], side)
    harness.callback.on_trial_result(1, [], side, last)
    harness.callback.on_trial_complete(1, [], side)
    spec = trial(0, algorithm__name="feddst", training__lr=0.1)
    assert harness.store.endings() == {0: ending(spec, run_id="sw-1-000", validation_accuracy=0.75)}
    (record,) = read_records(harness.store.folder / "metrics.jsonl")
    assert record.metrics["sweep/best_validation_accuracy"] == 0.75
    (line,) = harness.lines()
    assert line.split("  ") == ["trial 1/0", "feddst lr=0.1", "finished", "validation_accuracy 0.75"]


def test_non_finite_evaluations_are_displayed(harness: CallbackHarness) -> None:
    folder = harness.store.folder / "sw-1-000"
    finish(folder)
    summary = RunSummary.read(folder / "summary.json")
    (folder / "summary.json").write_text(replace(summary, num_not_finite=2).to_json())
    harness.callback.on_trial_complete(1, [], FakeTuneTrial(0, _result("sw-1-000", 4, 0.75)))
    line = harness.lines()[0]
    assert line.startswith("sw-1-000: ")
    assert f"2 of {summary.num_rounds} rounds" in line


def test_stopped_trial_gets_a_summary(harness: CallbackHarness) -> None:
    folder = harness.store.folder / "sw-1-000"
    with opened(folder) as run:
        last = run.step()
    side = FakeTuneTrial(0, last)
    harness.callback.on_trial_result(1, [], side, last)
    harness.callback.on_trial_complete(1, [], side)
    found = harness.store.endings()[0]
    assert (found.status, found.objective) == (
        "stopped",
        {"validation_accuracy": last["validation_accuracy"]},
    )
    summary = RunSummary.read(folder / "summary.json")
    assert (summary.interrupted, summary.num_rounds, summary.validation_accuracy) == (
        True,
        2,
        last["validation_accuracy"],
    )


def test_failed_trial_is_recorded_with_its_cause(harness: CallbackHarness, tmp_path: Path) -> None:
    folder = harness.store.folder / "sw-1-000"
    with opened(folder) as run:
        run.step()
    side = FakeTuneTrial.failed(0, tmp_path, "orchestrator.errors.RoundError: too few")
    harness.callback.on_trial_error(1, [], side)
    found = harness.store.endings()[0]
    assert (found.status, found.run_id, found.cause) == ("failed", "sw-1-000", "RoundError: too few")
    assert found.objective == {}
    assert RunSummary.read(folder / "summary.json").interrupted
    kept = (harness.store.folder / "failures" / "000.txt").read_text()
    assert kept.splitlines()[-2:] == ["Traceback:", "orchestrator.errors.RoundError: too few"]


def test_trial_that_fails_before_its_run_has_no_run_id(harness: CallbackHarness, tmp_path: Path) -> None:
    (harness.store.folder / "sw-1-000").mkdir()
    harness.callback.on_trial_error(1, [], FakeTuneTrial.failed(0, tmp_path, "DataError: no data"))
    assert harness.store.endings()[0].run_id is None
    (line,) = harness.lines()
    assert line.split("  ") == ["trial 1/0", "feddst lr=0.1", "failed: DataError: no data"]


@pytest.mark.parametrize("error", ["orchestrator.errors.ActorsLostError: gone", "The actor died: gone"])
def test_trial_is_retried_after_actor_losses_until_too_many_without_progress(
    harness: CallbackHarness, tmp_path: Path, error: str
) -> None:
    side = FakeTuneTrial.failed(0, tmp_path, error)
    side_file = Path(str(side.error_file))
    if error.startswith("The"):
        side_file.write_text(f"Failure # 1 (occurred at 2026-01-01)\n{error}\n")
    with opened(harness.store.folder / "sw-1-000") as run:
        for num_rounds in (0, 2):
            for _ in range(MAX_LOSSES):
                harness.callback.on_trial_error(1, [], side)
                assert harness.start_pass()
                assert not harness.start_pass()
            if num_rounds == 0:
                run.step()
    assert (harness.store.endings(), harness.callback.ended_in_process) == ({}, frozenset())
    noted = [json.loads(line) for line in (harness.store.folder / "losses.jsonl").read_text().splitlines()]
    assert [(loss["number"], loss["rounds"]) for loss in noted] == [(0, 0)] * 3 + [(0, 2)] * 3
    assert re.match(r"trial 0 .*\(.*: gone\)", harness.lines()[0])

    harness.callback.on_trial_error(1, [], side)
    assert not harness.start_pass()
    assert (harness.store.endings()[0].status, harness.callback.ended_in_process) == ("failed", {0})


def test_line_on_lost_actors_names_the_log_of_ray(harness: CallbackHarness, tmp_path: Path) -> None:
    log = harness.store.folder / RAY_LOG
    log.write_text("A worker died.")
    lost = FakeTuneTrial.failed(0, tmp_path, "orchestrator.errors.ActorsLostError: gone")
    harness.callback.on_trial_error(1, [], lost)
    assert str(log) in harness.lines()[0]


@pytest.mark.parametrize(
    ("is_population", "statuses", "over"),
    [
        (False, ["RUNNING", "PENDING"], False),
        (False, ["PENDING", "TERMINATED", "ERROR"], True),
        (True, ["RUNNING", "PAUSED"], True),
    ],
)
def test_pass_ends_for_a_lost_trial_when_no_other_trial_runs(
    tmp_path: Path, is_population: bool, statuses: list[str], over: bool
) -> None:
    harness = CallbackHarness(new_store(tmp_path), is_population=is_population)
    lost = FakeTuneTrial.failed(9, tmp_path, "orchestrator.errors.ActorsLostError: gone")
    others = [FakeTuneTrial(number) for number in range(len(statuses))]
    for other, status in zip(others, statuses, strict=True):
        other.status = status
    harness.callback.on_trial_error(1, [lost, *others], lost)
    lost.status = "ERROR"
    assert not harness.stopper.stop_all()
    harness.callback.on_step_end(1, [lost, *others])
    assert (harness.stopper.stop_all(), harness.stopper.requested) == (over, False)
    assert harness.start_pass()
    assert not harness.stopper.stop_all()


def test_pass_ends_when_the_last_running_trial_ends(harness: CallbackHarness, tmp_path: Path) -> None:
    finish(harness.store.folder / "sw-1-000")
    last = FakeTuneTrial(0, _result("sw-1-000", 4, 0.75))
    lost = FakeTuneTrial.failed(9, tmp_path, "orchestrator.errors.ActorsLostError: gone")
    harness.callback.on_trial_result(1, [last, lost], last, last.last_result)
    harness.callback.on_trial_error(1, [last, lost], lost)
    lost.status = "ERROR"
    harness.callback.on_step_end(1, [last, lost])
    assert not harness.stopper.stop_all()
    harness.callback.on_trial_complete(1, [last, lost], last)
    last.status = "TERMINATED"
    harness.callback.on_step_end(2, [last, lost])
    assert harness.stopper.stop_all()


@pytest.mark.parametrize(
    ("statuses", "over"),
    [
        (["PENDING", "TERMINATED"], True),
        (["PAUSED", "ERROR"], True),
        (["PENDING", "RUNNING"], False),
        (["TERMINATED", "ERROR"], False),
    ],
)
def test_pass_ends_when_all_remaining_trials_wait_for_a_missing_node(
    harness: CallbackHarness, statuses: list[str], over: bool
) -> None:
    sides = [FakeTuneTrial(number) for number in range(len(statuses))]
    for side, status in zip(sides, statuses, strict=True):
        side.status = status
    harness.callback.on_step_end(1, sides)
    harness.nodes = [HERE]
    for _ in range(2):
        assert not harness.stopper.stop_all()
        harness.callback.on_step_end(2, sides)
    assert (harness.stopper.stop_all(), harness.stopper.requested) == (over, False)
    assert [line.count("(10.0.0.2)") for line in harness.lines()] == [1] * over
    assert harness.start_pass() == over
    for _ in range(3):
        harness.callback.on_step_end(3, sides)
    assert not harness.start_pass(), "the new pass is planned for one node"


def test_unreachable_cluster_stops_the_sweep(tmp_path: Path) -> None:
    lost = ConnectionError("no answer")

    def query() -> Capacity:
        raise lost

    stopper, tracker = SweepStopper(), SweepTracker("sw-1", None)
    node_monitor = NodeMonitor(Capacity((HERE,)), 60.0, capacity=query)
    callback = SweepCallback(
        new_store(tmp_path), ACCURACY, tracker, SweepProgress(quiet=True), stopper, node_monitor
    )
    waiting = FakeTuneTrial(0)
    waiting.status = "PENDING"
    callback.on_step_end(1, [waiting])
    assert (callback.problem, stopper.requested) == (lost, True)


def test_pass_continues_without_a_loss(harness: CallbackHarness) -> None:
    harness.callback.on_step_end(1, [FakeTuneTrial(0)])
    harness.callback.on_step_end(1, [])
    assert not harness.stopper.stop_all()


def test_complete_run_counts_as_finished_although_its_actor_failed(
    harness: CallbackHarness, tmp_path: Path
) -> None:
    summary = finish(harness.store.folder / "sw-1-000")
    harness.callback.on_trial_error(1, [], FakeTuneTrial.failed(0, tmp_path, "RoundError: too few"))
    found = harness.store.endings()[0]
    assert (found.status, found.run_id, found.cause) == ("finished", "sw-1-000", "")
    assert found.objective == {"validation_accuracy": summary.validation_accuracy}
    assert not RunSummary.read(harness.store.folder / "sw-1-000" / "summary.json").interrupted


def test_trial_with_its_own_error_is_not_retried(harness: CallbackHarness, tmp_path: Path) -> None:
    harness.callback.on_trial_error(1, [], FakeTuneTrial.failed(0, tmp_path, "RoundError: too few"))
    assert not harness.start_pass()
    assert harness.store.endings()[0].status == "failed"


def test_rejected_trial_is_recorded_as_failed(harness: CallbackHarness) -> None:
    spec = trial(3, algorithm__name="feddst", training__lr=0.1)
    error = ConfigError("training.lr", -1, "must be above 0", "raise it")
    harness.callback.reject_trial(spec, error)
    found = harness.store.endings()[3]
    assert (found.status, found.run_id, found.cause) == ("failed", None, f"ConfigError: {error}")
    assert harness.callback.ended_in_process == {3}
    assert not harness.stopper.requested


def test_error_in_the_callback_stops_the_sweep(harness: CallbackHarness) -> None:
    (harness.store.folder / "sw-1-000").mkdir()
    harness.callback.on_trial_result(1, [], FakeTuneTrial(0), _result("sw-1-000", 1, 0.5))
    assert harness.stopper.requested
    assert isinstance(harness.callback.problem, CheckpointError)


def test_interrupted_runs_get_summaries(harness: CallbackHarness) -> None:
    folder = harness.store.folder / "sw-1-000"
    with opened(folder) as run:
        last = run.step()
    harness.callback.on_trial_result(1, [], FakeTuneTrial(0, last), last)
    harness.callback.summarise_interrupted()
    assert RunSummary.read(folder / "summary.json").interrupted
    assert harness.store.endings() == {}


def test_failure_without_error_file_is_recorded(harness: CallbackHarness) -> None:
    harness.callback.on_trial_error(1, [], FakeTuneTrial(0))
    assert harness.store.endings()[0].cause == "Tune gives no cause"


def test_superseded_run_gets_a_summary(harness: CallbackHarness) -> None:
    """Population-based training continues the trial in a new run."""
    for name in ("sw-1-000", "sw-1-000-g1"):
        with opened(harness.store.folder / name) as run:
            run.step()
    side = FakeTuneTrial(0)
    harness.callback.on_trial_result(1, [], side, _result("sw-1-000", 2, 0.5))
    assert not (harness.store.folder / "sw-1-000" / "summary.json").exists()
    harness.callback.on_trial_result(2, [], side, _result("sw-1-000-g1", 2, 0.6))
    assert RunSummary.read(harness.store.folder / "sw-1-000" / "summary.json").interrupted
    assert not (harness.store.folder / "sw-1-000-g1" / "summary.json").exists()


def test_metrics_include_endings_of_an_earlier_process(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.add_ending(ending(trial(1), validation_accuracy=0.9))
    harness = CallbackHarness(store)
    harness.callback.on_trial_error(1, [], FakeTuneTrial(0))
    (record,) = read_records(store.folder / "metrics.jsonl")
    assert record.metrics == {
        "sweep/num_finished": 1.0,
        "sweep/num_stopped": 0.0,
        "sweep/num_failed": 1.0,
        "sweep/num_losses": 0.0,
        "sweep/best_validation_accuracy": 0.9,
    }


def test_rejected_tracker_stops_the_sweep(tmp_path: Path) -> None:
    rejection = TrackingError("no permission")

    def check() -> None:
        raise rejection

    stopper = SweepStopper()
    callback = SweepCallback(
        new_store(tmp_path),
        ACCURACY,
        SimpleNamespace(check=check),  # type: ignore[arg-type]
        SweepProgress(quiet=True),
        stopper,
        NodeMonitor(Capacity(()), 60.0),
    )
    callback.on_trial_start(1, [], FakeTuneTrial(0))
    assert (callback.problem, stopper.stop_all()) == (rejection, True)


def test_stopper_stops_all_trials_or_none() -> None:
    stopper = SweepStopper()
    assert (stopper.stop_all(), stopper("000", {})) == (False, False)
    stopper.request()
    assert (stopper.stop_all(), stopper("000", {})) == (True, False)
