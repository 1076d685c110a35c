"""Imports of the project's packages in a folder that contains packages of the same names."""

import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BROKEN = "raise AssertionError('this file is not the package')"
USE = "from orchestrator.experiment.methods import load_algorithm; print(load_algorithm('fedavg').__module__)"
SPACES = "from orchestrator.sweeping.space import load_space; print(load_space('smoke').name)"


def _python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(("code", "output"), [(USE, "algorithms.fedavg"), (SPACES, "smoke")])
def test_own_packages_are_imported_in_place_of_the_users(tmp_path: Path, code: str, output: str) -> None:
    for name in ("algorithms", "search_spaces"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(BROKEN)
    done = _python(tmp_path, "-c", code)
    assert done.stdout.strip() == output, done.stderr


def test_command_runs_as_a_module_in_such_a_folder(tmp_path: Path) -> None:
    (tmp_path / "algorithms").mkdir()
    (tmp_path / "algorithms" / "__init__.py").write_text(BROKEN)
    done = _python(tmp_path, "-m", "orchestrator.cli", "list", "algorithms")
    assert done.returncode == 0, done.stderr
    assert "feddst" in done.stdout


def test_package_of_the_user_that_is_imported_already_is_reported(tmp_path: Path) -> None:
    (tmp_path / "algorithms").mkdir()
    (tmp_path / "algorithms" / "__init__.py").write_text("")
    done = _python(tmp_path, "-c", f"import algorithms; {USE}")
    error = done.stderr.splitlines()[-1]
    assert error.startswith("ImportError: ")
    assert str(tmp_path / "algorithms") in error


def test_users_package_can_be_imported_next_to_a_loaded_model(tmp_path: Path) -> None:
    (tmp_path / "algorithms").mkdir()
    (tmp_path / "algorithms" / "__init__.py").write_text("X = 7")
    code = "import orchestrator.tracking.served_model, algorithms; print(algorithms.X)"
    assert _python(tmp_path, "-c", code).stdout == "7\n"
