"""Every command that reads runs finds them in the storage folder of the key, the option or the file."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.command import Command

#: command -> its arguments for a run; `ui` and `status` read the whole folder
COMMANDS = {
    "resume": ("resume", "-q", "{run}"),
    "retime": ("retime", "{run}", "--fleet", "five-tier"),
    "compare": ("compare", "{run}", "--format", "csv"),
    "stop": ("stop", "{run}"),
    "status": ("status", "--json"),
    "ui": ("ui",),
}
GIVEN = {
    "key": ("runtime.storage={storage}",),
    "option": ("--storage", "{storage}"),
    "file": ("-c", "{file}"),
    "key before option": ("runtime.storage={storage}", "--storage", "elsewhere"),
    "option before file": ("--storage", "{storage}", "-c", "{elsewhere}"),
}


@pytest.fixture
def files(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A run in a folder whose name has a space, two config files, and another current folder."""
    storage = Path(shutil.copytree(finished.parent, tmp_path / "my runs"))
    shutil.rmtree(finished.parent)
    (tmp_path / "here.yaml").write_text(f"runtime: {{storage: '{storage}'}}\nseed: 99\n")
    (tmp_path / "elsewhere.yaml").write_text("runtime: {storage: elsewhere}\n")
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return {
        "run": finished.name,
        "storage": str(storage),
        "file": str(tmp_path / "here.yaml"),
        "elsewhere": str(tmp_path / "elsewhere.yaml"),
    }


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_finds_the_run(command: Command, files: dict[str, str], name: str, given: str) -> None:
    arguments = [text.format(**files) for text in (*COMMANDS[name], *GIVEN[given])]
    result = command(*arguments)
    if name == "ui":  # the folder has no MLflow store, which the error reports with the folder
        assert result.code == 2
        assert f"={files['storage']}: " in result.error_line
        return
    assert (result.code, result.err) == (0, f"{files['run']} is not running\n" if name == "stop" else "")
    if name == "status":
        assert json.loads(result.out)["storage"] == files["storage"]
    elif name in ("retime", "compare"):
        assert "fedavg" in result.out


@pytest.mark.parametrize("name", ["resume", "retime"])
def test_remedy_for_an_unknown_run_works(command: Command, files: dict[str, str], name: str) -> None:
    arguments = [text.format(**files) for text in COMMANDS[name]]
    result = command(*arguments)
    assert result.code == 2
    assert result.error_line.startswith(f"error: RUN={files['run']}: ")
    assert "runtime.storage=DIR" in result.error_line
    assert command(*arguments, f"runtime.storage={files['storage']}").code == 0


@pytest.mark.parametrize("name", ["retime", "stop", "status", "ui"])
def test_commands_that_only_read_runs_reject_other_keys(
    command: Command, files: dict[str, str], name: str
) -> None:
    arguments = [text.format(**files) for text in COMMANDS[name]]
    result = command(*arguments, f"runtime.storage={files['storage']}", "training.rounds=9")
    assert result.code == 2
    assert result.error_line.startswith("error: training.rounds=9: ")


def test_resume_rejects_a_storage_folder_that_is_not_the_run_s(
    command: Command, files: dict[str, str]
) -> None:
    folder = Path(files["storage"]) / files["run"]
    result = command("resume", "-q", folder, "runtime.storage=elsewhere")
    assert result.code == 2
    assert result.error_line.startswith("error: runtime.storage=elsewhere: ")
