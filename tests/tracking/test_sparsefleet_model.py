"""Loading of a logged model in a folder whose files have the names of the package."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.tracking import sparsefleet_model
from tests.tracking.test_served_model import WEIGHTS, write_model

PROJECT = Path(__file__).parents[2]
BROKEN = "raise AssertionError('this file is not the package')"
#: like MLflow: puts the folder of the stored loader in front of the import path, and imports the loader by its name
SCRIPT = """
import sys
sys.path.insert(0, "code")
import numpy
import sparsefleet_model
model = sparsefleet_model._load_pyfunc("model")
print(model.predict(numpy.zeros((1, 2, 1, 1), numpy.uint8)).shape)
"""


def _load(folder: Path, start: str, path: str = str(PROJECT)) -> "subprocess.CompletedProcess[str]":
    """Load a model in a new process in `folder`, which is the first entry of the import path."""
    write_model(folder / "model", WEIGHTS)
    (folder / "code").mkdir()
    shutil.copy(sparsefleet_model.__file__, folder / "code")
    command = [sys.executable, "-S", "-c", start + SCRIPT]
    packages = next(entry for entry in sys.path if entry.endswith("site-packages"))
    environment = {"PYTHONPATH": f"{path}:{packages}"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("name", ["orchestrator.py", "orchestrator/__init__.py"])
def test_model_is_loaded_by_the_installed_package(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(BROKEN)
    done = _load(tmp_path, "")
    assert done.stdout == "(1, 3)\n", done.stderr


def test_module_of_the_name_that_is_imported_already_is_reported(tmp_path: Path) -> None:
    (tmp_path / "orchestrator.py").write_text("")
    done = _load(tmp_path, "import orchestrator")
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert str(tmp_path / "orchestrator.py") in done.stderr


def test_missing_package_is_reported(tmp_path: Path) -> None:
    done = _load(tmp_path, "", path="")
    assert done.stderr.splitlines()[-1].startswith("ImportError: ")
    assert "sparsefleet" in done.stderr.splitlines()[-1]
