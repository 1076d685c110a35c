"""A run whose method or model has changed is resumed only with `--accept-changed-code`."""

import json
import shutil
from pathlib import Path

import pytest

from orchestrator.api import resume
from orchestrator.display.run_progress import Progress
from orchestrator.errors import ConfigError
from orchestrator.plugins.importer import shipped_modules
from orchestrator.storage.run_store import RunStore
from tests.support.command import QUICK, Command, CommandResult
from tests.support.new_process import forget_plugins
from tests.support.user_files import METHOD, MODEL, write_user_files


@pytest.fixture
def stopped(command: Command, tmp_path: Path, storage: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run of a user's method and model; no module of the user is imported."""
    monkeypatch.chdir(write_user_files(tmp_path / "home"))
    done = command("run", *QUICK, METHOD, MODEL, f"runtime.storage={storage}")
    assert done.code == 0, done.err
    (folder,) = [path.parent for path in storage.glob("*/run.json")]
    forget_plugins()
    return folder


def _error(done: CommandResult) -> str:
    """The last line on standard error; a note on the number of rounds may come before."""
    return done.err.splitlines()[-1]


#: file that the user edits -> (key in the error, label of the copies)
CHANGES = {
    "method.py": ("algorithm.name", "algorithm"),
    "helper.py": ("algorithm.name", "algorithm"),
    "net.py": ("model.name", "model"),
    "parts/blocks.py": ("model.name", "model"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_resume_names_the_changed_file_and_changes_nothing(
    command: Command, stopped: Path, name: str
) -> None:
    file, (key, _) = Path(name), CHANGES[name]
    file.write_text(file.read_text() + "\n# edited\n")
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    done = command("resume", stopped, "training.rounds=3")
    assert done.code == 2
    assert _error(done).startswith(f"error: {key}=")
    assert name in _error(done)
    assert "--accept-changed-code" in _error(done)
    now = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file() and path.name != "lock"}
    assert now == {path: content for path, content in before.items() if path.name != "lock"}


@pytest.mark.parametrize("name", CHANGES)
def test_accepted_code_is_stored_and_the_earlier_code_is_kept(
    command: Command, stopped: Path, name: str
) -> None:
    file, (_, label) = Path(name), CHANGES[name]
    earlier = file.read_text()
    file.write_text(f"{earlier}\n# edited\n")
    done = command("resume", stopped, "training.rounds=3", "--accept-changed-code")
    assert done.code == 0, done.err
    assert (stopped / "sources" / label / name).read_text() == f"{earlier}\n# edited\n"
    assert (stopped / "sources-replaced-1" / label / name).read_text() == earlier
    assert RunStore(stopped).about()["replaced_sources"] == [
        {"folder": "sources-replaced-1", "num_rounds": 2}
    ]
    forget_plugins()
    assert command("resume", stopped, "training.rounds=4").code == 0


def test_new_import_of_a_neighbour_is_a_change(command: Command, stopped: Path) -> None:
    Path("unused.py").write_text("")
    Path("method.py").write_text(f"import unused\n{Path('method.py').read_text()}")
    done = command("resume", stopped, "training.rounds=3")
    assert done.code == 2
    assert "unused.py" in _error(done)


@pytest.mark.parametrize("name", ["unused.py", "orchestrator.py"])
def test_files_that_the_run_does_not_use_may_change(command: Command, stopped: Path, name: str) -> None:
    Path(name).write_text("X = 1\n")
    assert command("resume", stopped, "training.rounds=3").code == 0


def test_moved_files_are_compared_too(
    command: Command, stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.move(tmp_path / "home", tmp_path / "moved"))
    Path("helper.py").write_text("def scaled(values, scale):\n    return values * 0\n")
    assert command("resume", stopped, "training.rounds=3").code == 2


def test_python_function_accepts_changed_code_by_keyword(stopped: Path) -> None:
    Path("helper.py").write_text("def scaled(values, scale):\n    return values * 0\n")
    with pytest.raises(ConfigError) as caught:
        resume(stopped, ["training.rounds=3"], Progress(quiet=True))
    assert (caught.value.field, caught.value.value) == ("algorithm.name", "method.py")
    forget_plugins()
    summary = resume(stopped, ["training.rounds=3"], Progress(quiet=True), accept_changed_code=True)
    assert summary.num_rounds == 3
    assert shipped_modules()


def test_run_without_stored_code_says_so_once(command: Command, stopped: Path) -> None:
    """Runs of earlier releases have no copies."""
    about = RunStore(stopped).about()
    del about["sources"]
    (stopped / "run.json").write_text(json.dumps(about))
    shutil.rmtree(stopped / "sources")
    first = command("resume", stopped, "training.rounds=3")
    assert (first.code, first.err.count("method.py"), first.err.count("net.py")) == (0, 1, 1)
    assert (stopped / "sources" / "algorithm" / "method.py").is_file()
    second = command("resume", stopped, "training.rounds=4")
    assert (second.code, second.err.count("method.py")) == (0, 0)


def test_new_sweep_rejects_the_option(command: Command) -> None:
    done = command("sweep", "smoke", "--accept-changed-code")
    assert done.code == 2
    assert done.error_line.startswith("error: --accept-changed-code=True: ")
