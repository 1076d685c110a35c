"""Trials of a sweep resume after they have lost their drivers."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.api import sweep
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.sweeping.store import SweepStore
from tests.soak.metrics import metric_findings
from tests.support.sweep_files import (
    base_of,
    digests,
    tiny_space,
    undisturbed,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]


def _values(storage: Path, driver_dies: float) -> dict[str, Any]:
    """Seven rounds. Each trial's driver dies in the sixth, and for `driver_dies` above 0.12 also in the second."""
    return {
        "runtime.storage": str(storage),
        "training.rounds": 7,
        "chaos.driver_dies": driver_dies,
    }


def _num_deaths(store: SweepStore) -> int:
    return sum(1 for _ in store.folder.glob("*/chaos/driver-*"))


def _without_faults(base: dict[str, Any]) -> dict[str, Any]:
    return {section: values for section, values in base.items() if section != "chaos"}


def test_each_trial_resumes_from_its_last_checkpoint(tmp_path: Path) -> None:
    result = sweep(
        str(tiny_space(tmp_path)),
        _values(tmp_path / "runs", 0.13),
        num_samples=2,
        display=SweepProgress(True),
    )
    store = SweepStore(result.folder)
    assert _num_deaths(store) == 4
    assert (result.num_finished, result.num_failed) == (2, 0)
    base = _without_faults(base_of(store))
    assert digests(store) == {t.number: undisturbed(t, base, tmp_path / "alone") for t in store.trials()}
    assert store.num_losses() == 4
    uri = f"sqlite:///{tmp_path}/runs/mlflow.db"
    for number in range(2):
        assert metric_findings(store.run_folder(number), uri, 7) == []
    client = MlflowClient(uri)
    (experiment,) = [e for e in client.search_experiments() if e.name == "sparsefleet"]
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"] * 3


def test_search_with_lost_drivers_ends_each_trial_once(tmp_path: Path) -> None:
    result = sweep(
        str(tiny_space(tmp_path)),
        {**_values(tmp_path / "runs", 0.1), "tracking.enabled": False},
        search="tpe",
        num_samples=3,
        scheduler="asha",
        grace_rounds=2,
        display=SweepProgress(True),
    )
    store = SweepStore(result.folder)
    assert _num_deaths(store) >= 1
    assert len((store.folder / "endings.jsonl").read_text().splitlines()) == 3
    assert len({str(trial.values) for trial in store.trials()}) == len(store.trials()) == 3
    assert {ending.status for ending in store.endings().values()} <= {"finished", "stopped"}
    base = _without_faults(base_of(store))
    finished = {n: digest for n, digest in digests(store).items() if digest is not None}
    assert finished
    assert finished == {n: undisturbed(store.trials()[n], base, tmp_path / "alone") for n in finished}
