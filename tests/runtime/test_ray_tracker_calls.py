"""The tracker's actor: calls keep their order and do not wait, and a lost cluster does not stop the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.errors import TrackingError
from orchestrator.plugins import ray_checked_actor
from orchestrator.plugins.package_source import PackageSource
from orchestrator.runtime import ray_tracker
from orchestrator.runtime.ray_head_monitor import HeadMonitor
from orchestrator.runtime.ray_tracker import RayTracker
from orchestrator.tracking.tracker import TrackingOutcome
from tests.support.memory_store import record, run_info

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("local_ray")]


class FakeSink:
    """Takes the place of MlflowSink in the actor; the MLflow run id of its outcome lists the calls."""

    def __init__(self, client_factory: Callable[[str], Any]) -> None:
        self.calls: list[str] = []

    def start(self, info: Any) -> None:
        """See MlflowSink."""
        self.calls.append(f"start {info.run_id}")

    def log(self, record: Any) -> None:
        """See MlflowSink. Raises PermissionError for round 9."""
        if record.round_idx == 9:
            raise PermissionError("round 9")
        self.calls.append(f"log {record.round_idx}")

    def finish(self, status: str, summary: dict[str, Any]) -> None:
        """See MlflowSink."""
        self.calls.append(f"finish {status} {summary}")

    def close(self) -> TrackingOutcome:
        """See MlflowSink."""
        return TrackingOutcome(", ".join(self.calls), len(self.calls), None)


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> HeadMonitor:
    """The monitor of the local head; trackers send to a `FakeSink`."""
    monkeypatch.setattr(ray_tracker, "MlflowSink", FakeSink)
    return HeadMonitor(None)


@pytest.fixture
def notes() -> list[str]:
    """What the tracker tells the user."""
    return []


def test_calls_arrive_in_their_order(head: HeadMonitor, notes: list[str], tmp_path: Path) -> None:
    tracker = RayTracker("run-1", head, notes.append)
    tracker.start(run_info(tmp_path / "run-1"))
    for round_idx in range(3):
        tracker.log(record(round_idx))
    tracker.finish("FINISHED", {"accuracy": 0.5})
    calls = ["start run-1", "log 0", "log 1", "log 2", "finish FINISHED {'accuracy': 0.5}"]
    assert tracker.close() == TrackingOutcome(", ".join(calls), 5, None)


def test_close_ends_the_actor(head: HeadMonitor, notes: list[str], tmp_path: Path) -> None:
    tracker = RayTracker("run-2", head, notes.append)
    tracker.start(run_info(tmp_path / "run-2"))
    assert ray.get_actor("run-2/tracker")
    tracker.close()
    with pytest.raises(ValueError, match="run-2/tracker"):
        ray.get_actor("run-2/tracker")


def test_error_of_a_call_is_raised_at_the_end(head: HeadMonitor, notes: list[str], tmp_path: Path) -> None:
    tracker = RayTracker("run-3", head, notes.append)
    tracker.start(run_info(tmp_path / "run-3"))
    tracker.log(record(9))
    tracker.log(record(1))
    with pytest.raises(TrackingError, match="PermissionError"):
        tracker.close()


def test_tracker_with_other_source_does_not_start(
    head: HeadMonitor, notes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example after the package was changed while the run runs. The resumed run delivers the records."""
    old = PackageSource("/opt/old/orchestrator", "0" * 64)
    monkeypatch.setattr(ray_checked_actor, "package_source", lambda: old)
    tracker = RayTracker("run-4", head, notes.append)
    tracker.start(run_info(tmp_path / "run-4"))
    with pytest.raises(TrackingError, match="/opt/old/orchestrator"):
        tracker.close()
    (note,) = notes
    assert "/opt/old/orchestrator" in note


def test_lost_head_does_not_stop_the_run(head: HeadMonitor, notes: list[str], tmp_path: Path) -> None:
    """No call goes to Ray, and `close` says that the records arrive when the run is resumed."""
    tracker = RayTracker("run-5", head, notes.append)
    tracker.start(run_info(tmp_path / "run-5"))
    actor = ray.get_actor("run-5/tracker")
    head.is_lost = True
    tracker.log(record(0))
    tracker.finish("FAILED", {})
    with pytest.raises(TrackingError, match="resumed"):
        tracker.close()
    outcome = ray.get(actor.close.remote())
    assert outcome.mlflow_run_id == "start run-5"
    ray.kill(actor)


def test_tracker_of_a_lost_head_does_not_start(head: HeadMonitor, notes: list[str], tmp_path: Path) -> None:
    tracker = RayTracker("run-6", head, notes.append)
    head.is_lost = True
    tracker.start(run_info(tmp_path / "run-6"))
    tracker.abandon(1.0)
    with pytest.raises(ValueError, match="run-6/tracker"):
        ray.get_actor("run-6/tracker")


def test_tracker_that_has_not_started_can_be_abandoned(head: HeadMonitor, notes: list[str]) -> None:
    """The user interrupts the run before its clients have started."""
    RayTracker("run-7", head, notes.append).abandon(1.0)
    with pytest.raises(ValueError, match="run-7/tracker"):
        ray.get_actor("run-7/tracker")
