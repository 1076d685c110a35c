"""The files of a report."""

from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError
from orchestrator.studies.report.write import write_study_report
from orchestrator.studies.results import StudyResults
from tests.support.studies import study_state


def test_all_files_are_written(results: StudyResults, tmp_path: Path) -> None:
    paths = write_study_report(results, study_state(), tmp_path / "report")
    names = ["report.html", "report.md", "verdicts.csv", "contrasts.csv", "outcomes.csv", "digits.png"]
    assert [path.name for path in paths] == names
    assert all(path.stat().st_size for path in paths)


def test_folder_that_cannot_be_written_is_named(results: StudyResults, tmp_path: Path) -> None:
    (tmp_path / "report").write_text("a file")
    with pytest.raises(CheckpointError, match="report"):
        write_study_report(results, study_state(), tmp_path / "report")
