"""Commands run in this process, and one finished run that tests may copy and damage."""

import shutil
from pathlib import Path

import pytest

from orchestrator.cli import main as cli
from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from tests.support.command import QUICK, Command, Ended


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `sparsefleet` with some words on a wide page that is no terminal."""
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: object) -> Ended:
        capsys.readouterr()
        code = cli._main([str(word) for word in words])
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return run


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """An own folder for runs."""
    return tmp_path / "runs"


@pytest.fixture
def quick(storage: Path) -> tuple[str, ...]:
    """Overrides for a run of two short rounds."""
    return (*QUICK, f"runtime.storage={storage}")


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("finished")
    config = load_config(None, [*QUICK, "training.rounds=3", f"runtime.storage={storage}"])
    return storage / session.run(config, Progress(quiet=True)).run_id


@pytest.fixture
def finished(_finished: Path, storage: Path) -> Path:
    """The folder of an own copy of a run of three rounds."""
    return Path(shutil.copytree(_finished, storage / _finished.name))
