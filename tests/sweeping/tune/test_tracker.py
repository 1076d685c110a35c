"""The tracker of a sweep without MLflow."""

from orchestrator.sweeping.tune.tracker import SweepTracker


def test_tracker_does_nothing_without_mlflow() -> None:
    tracker = SweepTracker("sw-1", None)
    tracker.check()
    tracker.advance("r", 1)
    assert (tracker.close(), tracker.spent_s) == (None, 0.0)
