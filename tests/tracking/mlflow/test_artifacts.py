"""Adding the report of a comparison to the MLflow run of a run that has ended."""

from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.errors import TrackingError
from orchestrator.tracking.delivery import Delivery
from orchestrator.tracking.mlflow.artifacts import log_folder
from orchestrator.tracking.mlflow.client import connect

pytestmark = pytest.mark.filterwarnings(
    "ignore:The ..noload.. loader strategy is deprecated:DeprecationWarning:mlflow.store.tracking"
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for all tests of this module, because creating a store takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A report of two files, one of them in a folder of its own."""
    (tmp_path / "report" / "figures").mkdir(parents=True)
    (tmp_path / "report" / "report.html").write_text("<p>")
    (tmp_path / "report" / "figures" / "a.png").write_bytes(b"png")
    return tmp_path / "report"


def _tracked_run(folder: Path, uri: str, mlflow_run_id: str | None) -> Path:
    """A run's folder whose delivery names an MLflow run."""
    folder.mkdir()
    replace(Delivery.open(uri, "e", folder), mlflow_run_id=mlflow_run_id, ended=True).save(folder)
    return folder


def _files(client: MlflowClient, mlflow_run_id: str, folder: str) -> set[str]:
    return {file.path for file in client.list_artifacts(mlflow_run_id, folder)}


def test_report_becomes_artifacts_of_the_run(uri: str, report: Path, tmp_path: Path) -> None:
    client = connect(uri)
    experiment_id = client.create_experiment("e", artifact_location=(tmp_path / "artifacts").as_uri())
    mlflow_run_id = client.create_run(experiment_id).info.run_id
    run_dir = _tracked_run(tmp_path / "run-1", uri, mlflow_run_id)
    assert log_folder(uri, run_dir, report, "comparison") == mlflow_run_id
    assert _files(client, mlflow_run_id, "comparison") == {"comparison/figures", "comparison/report.html"}
    assert _files(client, mlflow_run_id, "comparison/figures") == {"comparison/figures/a.png"}


@pytest.mark.parametrize("has_delivery", [False, True])
def test_run_without_an_mlflow_run_raises(uri: str, report: Path, tmp_path: Path, has_delivery: bool) -> None:
    run_dir = _tracked_run(tmp_path / "run-1", uri, None) if has_delivery else tmp_path
    with pytest.raises(TrackingError) as caught:
        log_folder(uri, run_dir, report, "comparison")
    assert str(run_dir) in str(caught.value)
    assert str(report) in str(caught.value)


def test_run_that_the_store_does_not_have_raises_in_one_line(uri: str, report: Path, tmp_path: Path) -> None:
    run_dir = _tracked_run(tmp_path / "run-1", uri, "0" * 32)
    with pytest.raises(TrackingError, match="MlflowException: ") as caught:
        log_folder(uri, run_dir, report, "comparison")
    (line,) = str(caught.value).splitlines()
    assert str(report) in line
