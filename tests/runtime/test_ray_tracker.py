"""The MLflow tracker of a run on Ray continues when its actor dies."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient
from ray._private.state import actors

from orchestrator.errors import TrackingError
from orchestrator.runtime.ray_head_monitor import HeadMonitor
from orchestrator.runtime.ray_tracker import RayTracker
from tests.support.memory_store import commit, points, record, run_info

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


class TrackedRun:
    """A run's folder without a run, and its tracker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.notes = folder, list[str]()
        self.tracker = RayTracker(folder.name, HeadMonitor(None), self.notes.append)
        self.uri = f"sqlite:///{folder.parent / 'mlflow.db'}"
        self.tracker.start(run_info(folder, uri=self.uri))

    def kill_actor(self) -> None:
        """Kill the process of the tracker's actor after its calls, and wait until Ray knows it."""
        ray.get(self.tracker._sink.outcome.remote())
        (pid,) = [
            actor["Pid"]
            for actor in actors().values()
            if actor["Name"] == f"{self.folder.name}/tracker" and actor["State"] == "ALIVE"
        ]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(self.tracker._sink.outcome.remote())

    def lose_call(self, round_idx: int) -> None:
        """Commit a round, send its record to the dead actor, and wait for the failure of the call."""
        self.tracker.log(commit(self.folder, round_idx))
        calls = self.tracker._calls._open
        ray.wait(calls, num_returns=len(calls))

    def delivered(self) -> tuple[str, list[Any]]:
        """Return the status and the points of the only run in MLflow."""
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name("e")
        assert experiment is not None
        (run,) = client.search_runs([experiment.experiment_id])
        names = sorted(run.data.metrics)
        history = [p for name in names for p in client.get_metric_history(run.info.run_id, name)]
        return run.info.status, sorted((p.key, p.step, p.timestamp, p.value) for p in history)


def test_new_actor_continues_after_the_last_delivered_record(tmp_path: Path) -> None:
    run = TrackedRun(tmp_path / "killed-in-between")
    run.tracker.log(commit(run.folder, 0))
    run.kill_actor()
    run.lose_call(1)
    for round_idx in (2, 3):
        run.tracker.log(commit(run.folder, round_idx))
    assert len(run.notes) == 1
    run.tracker.finish("FINISHED", {"accuracy": 0.5})
    outcome = run.tracker.close()
    assert (outcome.num_logged, outcome.problem, len(run.notes)) == (4, None, 1)
    result = ("accuracy", 3, points(3)[0][2], 0.5)
    assert run.delivered() == ("FINISHED", sorted([result, *points(0, 1, 2, 3)]))


def test_actor_that_dies_at_the_end_is_replaced(tmp_path: Path) -> None:
    run = TrackedRun(tmp_path / "killed-at-the-end")
    run.kill_actor()
    run.lose_call(0)
    run.tracker.finish("FINISHED", {})
    run.kill_actor()
    outcome = run.tracker.close()
    assert (outcome.num_logged, outcome.problem, len(run.notes)) == (1, None, 2)
    assert run.delivered() == ("FINISHED", sorted(points(0)))


def test_tracker_gives_up_an_actor_that_dies_again_and_again(tmp_path: Path) -> None:
    """The record of no round arrives: the run's folder, which the records come from, has none."""
    run = TrackedRun(tmp_path / "never-works")
    for round_idx in range(4):
        run.kill_actor()
        run.lose_call(round_idx)
        (run.folder / "metrics.jsonl").unlink()
        run.tracker.log(record(round_idx))
    with pytest.raises(TrackingError):
        run.tracker.close()
    assert len(run.notes) == 4


def test_abandoned_run_is_killed(tmp_path: Path) -> None:
    run = TrackedRun(tmp_path / "abandoned")
    run.tracker.log(commit(run.folder, 0))
    ray.get(run.tracker._sink.outcome.remote())
    run.tracker.abandon(60.0)
    assert run.delivered() == ("KILLED", sorted(points(0)))
