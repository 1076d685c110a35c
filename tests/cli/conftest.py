"""Fixtures for commands: a command that runs in this process, and a finished run that tests may damage."""

import shutil
from pathlib import Path

import pytest

from orchestrator.cli import main as cli
from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from tests.support.command import QUICK, Command, CommandResult


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `sparsefleet` with the given arguments; standard output is no terminal and 500 columns wide."""
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object) -> CommandResult:
        capsys.readouterr()
        code = cli.run_command_line([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return CommandResult(code, captured.out, captured.err)

    return run


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A storage folder for this test, which does not exist yet."""
    return tmp_path / "runs"


@pytest.fixture
def quick(storage: Path) -> tuple[str, ...]:
    """Overrides for a run of two short rounds in `storage`."""
    return (*QUICK, f"runtime.storage={storage}")


@pytest.fixture(scope="session")
def _finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    storage = tmp_path_factory.mktemp("finished")
    config = load_config(None, [*QUICK, "training.rounds=3", f"runtime.storage={storage}"])
    return storage / session.run(config, Progress(quiet=True)).run_id


@pytest.fixture
def finished(_finished: Path, storage: Path) -> Path:
    """The folder of this test's own copy of a finished run of three rounds."""
    return Path(shutil.copytree(_finished, storage / _finished.name))
