"""The stages of a study: the report from stored runs, and a whole study on Ray that is resumed after a kill."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError
from orchestrator.studies.execution.folder import STUDY_YAML, StudyFolder
from orchestrator.studies.execution.session import StudyRequest, resume_study, start_study
from orchestrator.studies.execution.stages import report_study
from orchestrator.sweeping.store import SweepStore
from tests.support.run_folders import records, write_run
from tests.support.studies import SMALL, small_study, study_state
from tests.support.sweeps import ending, trial

CHOSEN = (
    ("digits", "dense", {"training.lr": 0.05}),
    ("digits", "masked", {"training.lr": 0.05, "algorithm.alpha": 0.05}),
)
#: accuracy of the reported runs in their only round, by arm; the seeds differ by 0.01
ACCURACIES = {"dense": 0.5, "masked": 0.8, "frozen": 0.6}


def _reported_study(storage: Path) -> StudyFolder:
    """A study whose reported sweep has three runs for each of three arms, and whose id study.json does not have."""
    folder = StudyFolder(storage / "small-1")
    folder.folder.mkdir()
    (folder.folder / STUDY_YAML).write_text(SMALL)
    folder.write(replace(study_state(data=str(storage)), finished=("screening", "tuning"), chosen=CHOSEN))
    sweep = storage / "small_report-1"
    sweep.mkdir()
    (sweep / "sweep.json").write_text('{"request": {"space": "/x/small-1/small_report.py"}, "base": {}}')
    store = SweepStore(sweep)
    for number, (arm, seed) in enumerate((arm, seed) for arm in ACCURACIES for seed in range(3)):
        run_id = f"{sweep.name}-{number:03d}"
        # every arm uploads 900 kB, which is the cap
        rounds = records(ACCURACIES[arm] + 0.01 * seed, bytes_a_round=900_000.0)
        write_run(sweep / run_id, seed=seed, method=arm, rounds=rounds)
        store.add_ending(ending(trial(number), "finished", run_id))
    return folder


def test_report_is_written_again_from_stored_runs(tmp_path: Path) -> None:
    folder = _reported_study(tmp_path)
    results = report_study(folder.folder)
    assert {claim.name: claim.verdict for claim in results.claims} == {
        "better": "holds",
        "cheaper": "does not hold",
        "large": "cannot be tested at this scale",
    }
    names = {path.name for path in folder.report.iterdir()}
    assert names == {
        "report.html",
        "report.md",
        "verdicts.csv",
        "contrasts.csv",
        "outcomes.csv",
        *(f"digits.{ending}" for ending in ("png", "pdf", "svg")),
    }
    before = {path.name: path.read_text() for path in folder.report.glob("*.csv")}
    report_study(folder.folder)
    assert {path.name: path.read_text() for path in folder.report.glob("*.csv")} == before


def test_report_of_a_study_without_reported_runs_says_how_to_resume(tmp_path: Path) -> None:
    folder = _reported_study(tmp_path)
    (tmp_path / "small_report-1" / "sweep.json").unlink()
    with pytest.raises(ConfigError) as error:
        report_study(folder.folder)
    assert "--resume" in error.value.remedy


def _tiny(folder: Path) -> Path:
    """The small study with one learning rate, two arms and two rounds.

    The screening tries one value of FedAvg and three of FedDST, of which two are finalists.
    """
    text = SMALL.replace("[0.05, 0.1]", "[0.1]").replace("rounds: 6", "rounds: 2")
    text = text.replace("{algorithm.alpha: [0.05, 0.2]}", "{algorithm.alpha: [0.05, 0.2, 0.4]}")
    start, end = text.index("  frozen:"), text.index("measures:")
    return small_study(folder, (text[:start] + text[end:]).replace("[dense, frozen]", "[dense]"))


@pytest.mark.ray
def test_study_runs_and_resumes_after_a_kill(tmp_path: Path, local_ray: None) -> None:
    """The study is resumed as if its process had been killed right after the tuning sweep ended."""
    overrides: dict[str, Any] = {"runtime.storage": str(tmp_path / "runs"), "runtime.executor": "inprocess"}
    request = StudyRequest(
        spec=str(_tiny(tmp_path)),
        scale="quick",
        num_seeds=2,
        data=tmp_path,
        overrides=overrides,
        command="sparsefleet reproduce small.yaml",
    )
    end = start_study(request, SweepProgress(quiet=True))
    assert end.results is not None
    assert (end.interrupted, end.num_failed, end.problem) == (False, 0, None)
    folder = StudyFolder(end.folder)
    first = folder.read()
    assert set(first.sweeps) == {"screening", "tuning", "report"}
    assert [len(arm.run_ids) for arm in end.results.arms] == [2, 2]
    tags = _tags_of_runs(tmp_path / "runs")
    assert len(tags) == 1 + 3 + 4 + 3 * 2 + 2 * 2, "the study, its sweeps and their trials"
    assert {each.get("study") for each in tags} == {folder.study_id}
    assert sum("mlflow.parentRunId" not in each for each in tags) == 1

    folder.write(replace(first, sweeps={}, finished=(), finalists=(), chosen=()))
    resumed = resume_study(end.folder, SweepProgress(quiet=True))
    assert folder.read() == first
    assert resumed.results is not None
    assert resumed.results.contrasts == end.results.contrasts


def _tags_of_runs(storage: Path) -> list[dict[str, str]]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    return [dict(run.data.tags) for run in client.search_runs([experiment.experiment_id])]
