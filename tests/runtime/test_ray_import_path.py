"""From which of the user's folders the workers import."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.runtime.ray_import_path import ImportPathJob, imported_folders
from tests.support.command import QUICK
from tests.support.endings import ONE_ACTOR
from tests.support.user_files import METHOD, MODEL, write_user_files

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("script", "entries", "folders"),
    [
        ("bin/sparsefleet", ["bin"], ["bin"]),  # a console script
        ("bin/sparsefleet", [], []),  # python -P
        ("work/train.py", ["work"], ["work"]),
        ("", ["."], ["."]),  # a notebook
        ("module/__main__.py", ["."], ["."]),  # python -m
        ("work/train.py", ["work", "."], ["work", "."]),  # PYTHONPATH names the current folder
        ("cli/job_entry.py", [str(PROJECT), "."], []),  # a job's folder comes after the package
        ("./train.py", ["."], ["."]),
    ],
)
def test_workers_import_from_the_folders_of_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, entries: list[str], folders: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / script) if script else ""])
    installed = [str(PROJECT / "installed")]
    monkeypatch.setattr(sys, "path", [*(str(tmp_path / entry) for entry in entries), *installed])
    assert imported_folders() == [str((tmp_path / folder).resolve()) for folder in folders]
    assert ImportPathJob()._py_driver_sys_path == imported_folders()


def test_ray_adds_no_folder_by_itself() -> None:
    """`ray.init` asks this method whether the job has a folder of its own, and else adds the current folder."""
    assert ImportPathJob()._runtime_env_has_working_dir()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("start", "command"),
    [
        (["-P", "-m", "orchestrator.cli"], ["sweep", "grid.py", "training.lr=0.1"]),
        (["-m", "orchestrator.cli"], ["run"]),
    ],
    ids=["sweep", "run"],
)
def test_command_on_ray_in_a_folder_with_modules_of_the_same_names(
    tmp_path: Path, start: list[str], command: list[str]
) -> None:
    """The drivers, trials and client actors import the user's method, and the installed package."""
    home = write_user_files(tmp_path / "home")
    if "-P" not in start:
        (home / "orchestrator.py").unlink()  # `python -m orchestrator` names this file
    names, folder = [METHOD, MODEL], home
    if "-P" in start:  # without -P, Python itself takes these modules from the current folder
        folder = write_user_files(tmp_path / "elsewhere")
        for name in ("torch.py", "random.py", "socket.py"):
            (folder / name).write_text(f"raise SystemExit('{name} of the current folder')")
        names = [name.replace("=", f"={home}/") for name in names]
        command = [str(home / word) if word.endswith(".py") else word for word in command]
    overrides = [*QUICK[1:], *names, f"runtime.storage={tmp_path / 'runs'}", *ONE_ACTOR]
    done = subprocess.run(
        [sys.executable, *start, *command, *overrides],
        cwd=folder,
        env={"PYTHONPATH": str(PROJECT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
