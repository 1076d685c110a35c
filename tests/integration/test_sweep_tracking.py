"""A sweep in MLflow: one parent run, one child run for each trial, and the searches of the README."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator.api import resume_sweep, sweep
from orchestrator.cli import main as cli
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.sweeping.store import SweepStore
from orchestrator.tracking.presentation.metric_names import mlflow_metric
from orchestrator.tracking.record import read_records
from tests.support.sweep_files import tiny_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]
QUIET = SweepProgress(quiet=True)
README = (Path(__file__).parents[2] / "README.md").read_text()


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> SweepStore:
    """A sweep of two trials with tracking."""
    folder = tmp_path_factory.mktemp("tracked")
    overrides: dict[str, Any] = {
        "runtime.storage": str(folder / "runs"),
        "runtime.executor": "inprocess",
        "algorithm.name": ["feddst", "randommask"],
        "sparsity.schedule": {"kind": "constant"},
        "sparsity.level": 0.8,
        "training.lr": 0.1,
        "training.rounds": 3,
    }
    return SweepStore(sweep(str(tiny_space(folder)), overrides, display=QUIET).folder)


@pytest.fixture
def search(swept: SweepStore) -> Callable[[str], list[Run]]:
    """A function that finds runs in the sweep's MLflow store by a filter."""
    client = MlflowClient(f"sqlite:///{swept.folder.parent}/mlflow.db")
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    return lambda text: list(client.search_runs([experiment.experiment_id], text))


def history(swept: SweepStore, run: Run, name: str) -> list[tuple[int, float]]:
    """Return all (step, value) of a metric in MLflow, with repetitions."""
    client = MlflowClient(f"sqlite:///{swept.folder.parent}/mlflow.db")
    return [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]


def test_each_trial_is_a_child_with_every_metric_once(
    swept: SweepStore, search: Callable[[str], list[Run]]
) -> None:
    (parent,) = search(f"attributes.run_name = '{swept.sweep_id}'")
    children = search(f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert {run.info.run_name for run in children} == {"feddst", "randommask"}
    assert {run.info.status for run in [parent, *children]} == {"FINISHED"}
    for run in children:
        records = read_records(swept.folder / run.data.tags["sparsefleet.run_id"] / "metrics.jsonl")
        assert len(records) == 3
        for name in {name for record in records for name in record.metrics}:
            logged = [(r.round_idx, r.metrics[name]) for r in records if name in r.metrics]
            shown = history(swept, run, mlflow_metric(name))
            assert shown == logged or (shown == [] and not any(value for _, value in logged))
        assert run.data.params["training.lr"] == "0.1"
        tags = {
            "method": run.info.run_name,
            "sweep": swept.sweep_id,
            "configuration": run.info.run_name,
            "seed": "0",
        }
        assert tags.items() <= run.data.tags.items()
        assert {"mlflow.source.name", "partition", "fleet", "sparsity", "trial"} <= run.data.tags.keys()
    assert history(swept, parent, "sweep/num_finished") == [(0, 1.0), (1, 2.0)]
    assert parent.data.params["sweep.search"] == "grid"
    assert parent.data.metrics["num_finished"] == 2


def test_report_and_later_comparisons_are_artifacts_of_the_parent(
    swept: SweepStore, search: Callable[[str], list[Run]], tmp_path: Path
) -> None:
    (parent,) = search(f"attributes.run_name = '{swept.sweep_id}'")
    arguments = [
        "compare",
        "--sweep",
        swept.sweep_id,
        "--storage",
        swept.folder.parent,
        "--out",
        tmp_path / "mine",
    ]
    assert cli.run_command_line([str(argument) for argument in [*arguments, "--baseline", "randommask"]]) == 0
    client = MlflowClient(f"sqlite:///{swept.folder.parent}/mlflow.db")
    figures = {
        f"{name}.{ending}" for name in ("curves", "pareto", "fairness") for ending in ("png", "pdf", "svg")
    }
    names = {"report.html", "comparison.csv", "comparison.json", *figures}
    for folder in ("report", "comparisons/mine"):
        assert {f.path for f in client.list_artifacts(parent.info.run_id, folder)} == {
            f"{folder}/{n}" for n in names
        }


def test_searches_of_the_readme_find_the_runs(search: Callable[[str], list[Run]], swept: SweepStore) -> None:
    section = README[README.index("Example searches for") :]
    (block,) = re.findall(r"```\n(.*?)```", section, re.DOTALL)[:1]
    of_sweep, cheap, sparse = block.strip().splitlines()
    found = [
        {run.info.run_name for run in search(text)}
        for text in (of_sweep.replace("SWEEP", swept.sweep_id), re.sub(r"> 0\.\d+", "> 0.01", cheap), sparse)
    ]
    assert found[0] == {"feddst", "randommask"}
    assert found[1] == {"feddst", "randommask"}
    assert found[2] == {"feddst"}


def test_resumed_sweep_delivers_missing_records_of_ended_trials(
    swept: SweepStore, search: Callable[[str], list[Run]]
) -> None:
    number, ending = next(iter(swept.endings().items()))
    assert ending.run_id is not None
    noted = swept.folder / ending.run_id / "tracking.json"
    delivery = json.loads(noted.read_text())
    client = MlflowClient(f"sqlite:///{swept.folder.parent}/mlflow.db")
    client.delete_run(delivery["mlflow_run_id"])
    noted.write_text(json.dumps({**delivery, "ended": False, "num_delivered": 1}))
    before = (swept.folder / "endings.jsonl").read_bytes()

    result = resume_sweep(swept.folder, display=QUIET)

    assert (result.num_finished, result.num_failed) == (2, 0)
    assert (swept.folder / "endings.jsonl").read_bytes() == before
    (run,) = search(f"tags.trial = '{number}'")
    assert run.info.status == "FINISHED"
    assert [step for step, _ in history(swept, run, "eval/loss")] == [0, 1, 2]


def test_sweep_is_nested_in_the_active_run_and_its_trials_record_the_store(
    tmp_path: Path, local_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(
        tmp_path
    )  # the artifacts of an experiment that MLflow itself creates go to the working folder
    uri = f"sqlite:///{tmp_path}/mine.db"
    overrides = {
        "runtime.storage": str(tmp_path / "runs"),
        "runtime.executor": "inprocess",
        "training.rounds": 1,
    }
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("mine")
    with mlflow.start_run() as outer:
        result = sweep(str(tiny_space(tmp_path)), {**overrides, "seed": 1}, num_samples=2, display=QUIET)
    store = SweepStore(result.folder)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [store.sweep_id]
    client = MlflowClient(uri)
    found = client.search_runs([outer.info.experiment_id])
    below = {run.info.run_id: run.data.tags.get("mlflow.parentRunId") for run in found}
    (sweep_id,) = [run_id for run_id, parent in below.items() if parent == outer.info.run_id]
    trials = [run_id for run_id, parent in below.items() if parent == sweep_id]
    assert len(trials) == len(below) - 2 == result.num_finished
    for trial in store.trials():
        recorded = yaml.safe_load((store.run_folder(trial.number) / "config.yaml").read_text())["tracking"]
        assert (recorded["uri"], recorded["experiment"]) == (uri, "mine")
