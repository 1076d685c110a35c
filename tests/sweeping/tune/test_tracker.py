"""The tracker of a sweep: without MLflow, and when its actor dies."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray
from mlflow import MlflowClient
from ray._private.state import actors

from orchestrator.sweeping.tune.tracker import SweepTracker
from tests.support.memory_store import commit, run_info


class Summary:
    """A run's summary, as far as a tracker reads it."""

    def to_dict(self) -> dict[str, float]:
        """See RunSummary."""
        return {"accuracy": 0.5}


SUMMARY: Any = Summary()


def test_tracker_does_nothing_without_mlflow() -> None:
    tracker = SweepTracker("sw-1", None)
    tracker.check()
    tracker.advance("r", 1)
    tracker.abandon(1.0)
    assert (tracker.close(), tracker.spent_s) == (None, 0.0)


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
def test_new_writer_continues_the_sweep_and_its_trials(tmp_path: Path) -> None:
    uri, notes = f"sqlite:///{tmp_path / 'mlflow.db'}", list[str]()
    infos = {name: replace(run_info(tmp_path / name, uri=uri), run_name=name) for name in ("sweep", "a", "b")}
    tracker = SweepTracker("killed-writer", infos["sweep"], notes.append)
    for name in ("a", "b"):
        tracker.start(infos[name])
        commit(tmp_path / name, 0)
        tracker.advance(name, 0)
    ray.get(tracker._opening)
    (pid,) = [
        a["Pid"] for a in actors().values() if a["Name"] == "killed-writer/tracker" and a["State"] == "ALIVE"
    ]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(tracker._writer.close.remote())
    for name in ("a", "b"):
        commit(tmp_path / name, 1)
        tracker.advance(name, 1)
        ray.wait(tracker._calls._open, num_returns=len(tracker._calls._open))
    for name in ("a", "b"):
        tracker.end(name, "FINISHED", SUMMARY)
    tracker.log(commit(tmp_path / "sweep", 0))
    tracker.finish("FINISHED", {})
    assert (tracker.close(), len(notes)) == (None, 1)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("e")
    assert experiment is not None
    found = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert found.keys() == {"sweep", "a", "b"}
    steps = {
        name: [point.step for point in client.get_metric_history(run.info.run_id, "eval/accuracy")]
        for name, run in found.items()
    }
    assert steps == {"sweep": [0], "a": [0, 1], "b": [0, 1]}
    assert found["sweep"].info.status == "FINISHED"
