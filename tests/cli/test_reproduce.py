"""`sparsefleet reproduce`: dry runs, options and errors. tests/studies/execution runs studies."""

from pathlib import Path

import pytest

from orchestrator.cli.reproduce import study_request
from orchestrator.studies.execution.folder import STUDY_YAML, StudyFolder
from orchestrator.studies.library import read_study, study_names, study_path
from tests.support.command import Command
from tests.support.studies import SMALL, small_study, study_state


@pytest.mark.parametrize("name", study_names())
def test_dry_run_estimates_every_study_without_its_data(command: Command, name: str, tmp_path: Path) -> None:
    result = command("reproduce", name, "--dry-run", "--data", tmp_path)
    assert (result.code, result.err) == (0, "")
    for row in ("tuning", "one seed", "whole study"):
        assert row in result.out
    missing = [line for line in result.out.splitlines() if line.startswith("Missing: --data=")]
    needs = {setting.data for setting in read_study(study_path(name)).settings.values()} - {"digits"}
    assert len(missing) == len(needs), "all data sets apart from the bundled digits are missing"


def test_missing_data_ends_with_one_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("reproduce", "ssfl-sparsity")
    assert result.code == 2
    assert f"cifar-10-python.tar.gz and unpack it in {tmp_path / 'data'}" in result.error_line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["nothing"], "STUDY=nothing"),
        (["frontier", "--scale", "huge"], "--scale=huge"),
        (["frontier", "--resume", "--report"], "--resume=True"),
        (["frontier", "--resume", "--seeds", "4"], "--seeds=4"),
        (["frontier", "--report", "--setting", "digits"], "--setting=digits"),
        (["frontier", "--setting", "digit"], "--setting=digit"),
        (["frontier", "--report", "--scale", "paper"], "--scale=paper"),
        (["frontier", "--resume", "tracking.enabled=false"], "KEY=VALUE=tracking.enabled=false"),
        (["frontier", "--report", "--storage", "nowhere"], "STUDY=frontier"),
    ],
)
def test_invalid_request_is_one_line_with_exit_code_2(
    command: Command, arguments: list[str], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("reproduce", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.error_line.startswith(f"error: {field}: ")


def test_command_of_the_report_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    request = study_request(
        "frontier", "quick", 3, ["digits"], tmp_path, ["tracking.enabled=false"], tmp_path
    )
    assert request.data == tmp_path
    assert request.command == (
        "sparsefleet reproduce frontier --scale quick --seeds 3 --data data --setting digits tracking.enabled=false"
    )
    relative = study_request("frontier", "quick", 3, [], Path("my/data"), None, None)
    assert relative.command.endswith("--data my/data")


def test_key_outside_of_runtime_and_tracking_is_rejected(command: Command, tmp_path: Path) -> None:
    result = command("reproduce", small_study(tmp_path), "training.rounds=3")
    assert result.code == 2
    assert result.error_line.startswith("error: training.rounds=3: ")


def test_report_of_a_study_without_reported_runs_is_rejected(command: Command, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "small-1")
    folder.folder.mkdir()
    folder.write(study_state())
    (folder.folder / STUDY_YAML).write_text(SMALL)
    result = command("reproduce", "small", "--report", "--storage", tmp_path)
    assert result.code == 2
    assert result.error_line.startswith("error: --report=")


def test_studies_are_listed_with_their_questions(command: Command) -> None:
    result = command("list", "studies")
    assert result.code == 0
    for name in study_names():
        assert name in result.out
