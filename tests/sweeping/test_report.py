"""The report of a sweep: the comparison of its trials."""

import json
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
    ("objective", "order"),
    [
        ("time_to_accuracy=0.3", "validation_accuracy"),
        ("accuracy_at_upload=50kB", "validation_accuracy"),
        ("personal_accuracy", "validation_personal_accuracy"),
        ("test_accuracy", "accuracy"),
        ("test_personal_accuracy", "personal_accuracy"),
    ],
)
def test_report_shows_test_metrics_in_the_order_of_the_objective(
    store: SweepStore, objective: str, order: str
) -> None:
    files = report_sweep(store, Objective.parse(objective))
    assert files
    assert all(file.is_file() and file.is_relative_to(store.report) for file in files)
    text = "".join(file.read_text() for file in files if file.suffix in (".md", ".html", ".json", ".csv"))
    assert "feddst" in text
    (file,) = (file for file in files if file.suffix == ".json")
    content = json.loads(file.read_text())
    assert (content["metric"], content["order"]) == (order.removeprefix("validation_"), order)


def test_sweep_without_a_round_has_no_report(tmp_path: Path) -> None:
    store = new_store(tmp_path)
    store.describe({"space": "smoke", "request": {"space": "smoke"}, "base": {}})
    assert report_sweep(store, Objective.parse("accuracy")) == []
    assert not store.report.exists()
