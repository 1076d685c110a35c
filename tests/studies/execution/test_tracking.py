"""The MLflow run of a study. tests/studies/execution/test_stages.py covers a store."""

from pathlib import Path

from orchestrator.experiment.config import ExperimentConfig
from orchestrator.studies.execution.folder import StudyFolder
from orchestrator.studies.execution.tracking import StudyTracker, resume_study_line
from tests.support.studies import study_state


def test_study_without_tracking_only_tags_its_sweeps(tmp_path: Path) -> None:
    config = ExperimentConfig.parse({"tracking": {"enabled": False}})
    folder = StudyFolder(tmp_path / "small-1")
    tracker = StudyTracker(folder, study_state(), config)
    assert tracker.tags == {"study": "small-1"}
    assert tracker.end("FINISHED") is None
    assert resume_study_line(folder).endswith(f"reproduce {folder.folder} --resume")
