"""Commands in messages: quoted for a shell, and with the path of the program that the user called."""

import shlex
import sys
from pathlib import Path

import pytest

from orchestrator.commands import command_line, resume_line, resume_sweep_line


@pytest.fixture
def called_by_path(monkeypatch: pytest.MonkeyPatch) -> str:
    """The program as the user called it."""
    monkeypatch.setattr(sys, "argv", ["some where/bin/sparsefleet", "run"])
    return "some where/bin/sparsefleet"


@pytest.mark.parametrize("folder", ["/a b/runs/r-1", "runs/it's", "/x/$HOME", "/x/ü;rm", "/x/a*"])
def test_folder_reaches_the_command_unchanged(called_by_path: str, folder: str) -> None:
    assert shlex.split(resume_line(folder)) == [called_by_path, "resume", folder]
    assert shlex.split(resume_sweep_line(Path(folder))) == [called_by_path, "sweep", folder, "--resume"]


def test_plain_arguments_are_not_quoted(called_by_path: str) -> None:
    assert command_line("list", "keys").removeprefix(shlex.quote(called_by_path)) == " list keys"


@pytest.mark.parametrize("is_on_path", [True, False])
def test_program_is_named_by_its_path_if_the_shell_would_not_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_on_path: bool
) -> None:
    """A worker process was not called as `sparsefleet`, so its own name does not help."""
    program = tmp_path / "sparsefleet"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["worker.py"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path) if is_on_path else "")
    assert command_line() == ("sparsefleet" if is_on_path else str(program))
