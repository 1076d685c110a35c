"""The folder of a study: its state, and the sweeps that belong to it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.studies.execution.folder import STUDY_YAML, StudyFolder, StudyState, find_study
from orchestrator.studies.plan import Cell
from tests.support.studies import SMALL, study_state


def _sweep(storage: Path, name: str, space: str) -> Path:
    folder = storage / name
    folder.mkdir()
    (folder / "sweep.json").write_text(json.dumps({"request": {"space": space}, "base": {}}))
    return folder


def _study(storage: Path, name: str = "small-1", state: StudyState | None = None) -> StudyFolder:
    folder = StudyFolder(storage / name)
    folder.folder.mkdir()
    folder.write(state or study_state())
    (folder.folder / STUDY_YAML).write_text(SMALL)
    return folder


def test_state_round_trips(tmp_path: Path) -> None:
    chosen = (("digits", "dense", {"training.lr": 0.1}),)
    state = replace(
        study_state(),
        settings=("digits",),
        sweeps={"tuning": "a"},
        finished=("tuning",),
        finalists=chosen * 2,
        chosen=chosen,
    )
    folder = _study(tmp_path, state=state)
    assert folder.read() == state
    assert folder.read().chosen_values == {Cell("digits", "dense"): {"training.lr": 0.1}}
    assert folder.update(finished=("tuning", "report")).finished == ("tuning", "report")
    assert folder.plan(state).cells[0] == Cell("digits", "dense")


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"name": 1, "chosen": [], "finished": []}'])
def test_damaged_state_is_rejected(tmp_path: Path, text: str) -> None:
    folder = _study(tmp_path)
    (folder.folder / "study.json").write_text(text)
    with pytest.raises(CheckpointError):
        folder.read()


def test_sweep_without_a_recorded_id_is_found_by_its_space(tmp_path: Path) -> None:
    """A process was killed after it created the sweep and before it wrote the id; the storage has moved since."""
    folder, state = _study(tmp_path), study_state()
    _sweep(tmp_path, "small_tuning-0", "/elsewhere/another-study/small_tuning.py")
    assert folder.sweep_folder("tuning", state) is None
    found = _sweep(tmp_path, "small_tuning-1", "/elsewhere/small-1/small_tuning.py")
    assert folder.sweep_folder("tuning", state) == found
    assert folder.sweep_folder("report", state) is None


def test_recorded_sweep_must_exist(tmp_path: Path) -> None:
    folder, state = _study(tmp_path), replace(study_state(), sweeps={"tuning": "small_tuning-1"})
    with pytest.raises(CheckpointError):
        folder.sweep_folder("tuning", state)
    assert folder.sweep_folder("tuning", replace(state, sweeps={})) is None
    recorded = _sweep(tmp_path, "small_tuning-1", "any")
    assert folder.sweep_folder("tuning", state) == recorded


def test_study_is_found_by_folder_id_and_name(tmp_path: Path) -> None:
    folder = _study(tmp_path).folder
    for name in (str(folder), folder.name, "small"):
        assert find_study(name, tmp_path) == folder.resolve()
    with pytest.raises(ConfigError) as error:
        find_study("other", tmp_path)
    assert error.value.field == "STUDY"
