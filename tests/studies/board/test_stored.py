"""The stored results of studies."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError, RequestError
from orchestrator.studies.board.stored import add_study, read_stored
from orchestrator.studies.execution.folder import StudyFolder
from tests.support.studies import finished_study


def test_adding_again_replaces_the_results_of_the_scale(tmp_path: Path) -> None:
    study, folder = finished_study(tmp_path), tmp_path / "results"
    first = add_study(study, folder)
    assert add_study(study, folder) == first
    assert [path.name for path in first] == ["frontier-quick-outcomes.csv", "frontier-quick-verdicts.csv"]
    assert len(read_stored(folder).outcomes) == 12


def test_results_of_some_settings_stand_beside_each_other_until_all_have_run(tmp_path: Path) -> None:
    study, folder = StudyFolder(finished_study(tmp_path)), tmp_path / "results"
    state = study.read()
    for settings in (("digits",), ("digits", "mnist"), ("digits",)):
        study.write(replace(state, settings=settings))
        add_study(study.folder, folder)
    names = [f"frontier-quick-{part}-outcomes.csv" for part in ("digits", "digits+mnist")]
    assert sorted(path.name for path in folder.glob("*-outcomes.csv")) == sorted(names)
    assert len(read_stored(folder).outcomes) == 2 * 12
    study.write(state)
    add_study(study.folder, folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "frontier-quick-outcomes.csv",
        "frontier-quick-verdicts.csv",
    ]


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
