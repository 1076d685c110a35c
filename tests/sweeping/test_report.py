"""The report of a sweep: the comparison of its trials."""

from pathlib import Path

import pytest

from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.report import report_sweep
from orchestrator.sweeping.store import SweepStore
from tests.support.sweeps import new_store
from tests.support.trial_runs import experiment, finish


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> SweepStore:
    """A sweep of two finished trials."""
    found = new_store(tmp_path_factory.mktemp("runs"))
    found.describe({"space": "smoke", "request": {"space": "smoke"}, "base": {}})
    finish(found.folder / "sw-1-000")
    finish(found.folder / "sw-1-001", experiment("training.lr=0.3"))
    return found


@pytest.mark.parametrize(
    "objective", ["time_to_accuracy=0.3", "accuracy_at_upload=50kB", "personal_accuracy"]
)
def test_report_compares_the_trials(store: SweepStore, objective: str) -> None:
    files = report_sweep(store, Objective.parse(objective))
    assert files
    assert all(file.is_file() and file.is_relative_to(store.report) for file in files)
    text = "".join(file.read_text() for file in files if file.suffix in (".md", ".html", ".json", ".csv"))
    assert "feddst" in text


def test_sweep_without_a_round_has_no_report(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.describe({"space": "smoke", "request": {"space": "smoke"}, "base": {}})
    assert report_sweep(store, Objective.parse("accuracy")) == []
    assert not store.report.exists()
