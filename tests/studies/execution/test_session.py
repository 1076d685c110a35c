"""Requests that are rejected before a study starts."""

from pathlib import Path

import pytest

from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.errors import ConfigError, DataError, SparsefleetError
from orchestrator.studies.execution.session import StudyRequest, plan_study, start_study
from tests.support.studies import SMALL, TWO_SETTINGS, small_study


def _request(folder: Path, text: str = SMALL, **fields: object) -> StudyRequest:
    defaults: dict[str, object] = {
        "spec": str(small_study(folder, text)),
        "scale": "quick",
        "num_seeds": 3,
        "data": folder,
        "overrides": {},
        "command": "sparsefleet reproduce small.yaml",
    }
    return StudyRequest(**{**defaults, **fields})  # type: ignore[arg-type]


def test_plan_has_the_name_of_the_file_and_an_absolute_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plan = plan_study(_request(tmp_path, data=Path("data")))
    assert (plan.name, plan.data) == ("small", tmp_path / "data")


def test_plan_has_the_chosen_settings(tmp_path: Path) -> None:
    assert plan_study(_request(tmp_path, TWO_SETTINGS, settings=("digits",))).settings == ("digits",)
    with pytest.raises(ConfigError) as error:
        plan_study(_request(tmp_path, TWO_SETTINGS, settings=("digits", "larger-clients")))
    assert (error.value.field, error.value.value) == ("--setting", "larger-clients")
    assert "large-clients" in error.value.remedy


def test_missing_data_ends_the_study_before_it_has_a_folder(tmp_path: Path) -> None:
    request = _request(
        tmp_path,
        SMALL.replace("data: digits", "data: cifar10"),
        overrides={"runtime.storage": tmp_path / "runs"},
    )
    with pytest.raises(DataError):
        start_study(request, SweepProgress(quiet=True))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("key", ["training.rounds", "seed"])
def test_study_fixes_all_keys_outside_of_runtime_and_tracking(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        start_study(_request(tmp_path, overrides={key: 1}), SweepProgress(quiet=True))
    assert error.value.field == key


def test_scale_without_settings_is_rejected(tmp_path: Path) -> None:
    text = SMALL.replace("      paper: {upload_cap: 9MB}\n", "")
    with pytest.raises(ConfigError) as error:
        plan_study(_request(tmp_path, text, scale="paper"))
    assert error.value.field == "--scale"


def test_study_that_ends_before_its_first_sweep_leaves_no_folder(tmp_path: Path) -> None:
    """No Ray cluster answers at the address, or this process is connected to another one."""
    overrides = {
        "runtime.storage": str(tmp_path / "runs"),
        "runtime.address": "127.0.0.1:9",
        "tracking.enabled": False,
    }
    with pytest.raises(SparsefleetError):
        start_study(_request(tmp_path, overrides=overrides), SweepProgress(quiet=True))
    assert list((tmp_path / "runs").iterdir()) == []
