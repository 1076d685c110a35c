"""The stored results of studies."""

from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError, RequestError
from orchestrator.studies.board.stored import add_study, read_stored
from tests.support.studies import finished_study


def test_adding_again_replaces_the_results_of_the_scale(tmp_path: Path) -> None:
    study, folder = finished_study(tmp_path), tmp_path / "results"
    first = add_study(study, folder)
    assert add_study(study, folder) == first
    assert [path.name for path in first] == ["frontier-quick-outcomes.csv", "frontier-quick-verdicts.csv"]
    assert len(read_stored(folder).outcomes) == 12


def test_study_without_a_report_is_rejected(tmp_path: Path) -> None:
    study = finished_study(tmp_path)
    (study / "report" / "outcomes.csv").unlink()
    with pytest.raises(RequestError) as error:
        add_study(study, tmp_path / "results")
    assert error.value.field == "STUDY"


def test_file_with_other_columns_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "a-quick-outcomes.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CheckpointError, match="columns"):
        read_stored(tmp_path)
