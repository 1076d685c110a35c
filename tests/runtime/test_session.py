"""Sessions in this process: changes that a resumed run allows, and the effect of Ctrl-C."""

import shutil
import signal
from pathlib import Path

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.errors import ConfigError
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from tests.support.command import QUICK

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def completed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with two rounds."""
    storage = tmp_path_factory.mktemp("storage")
    config = load_config(None, [*QUICK, "training.rounds=2", f"runtime.storage={storage}"])
    return storage / session.run(config, QUIET).run_id


@pytest.mark.parametrize(
    ("override", "field"),
    [("training.rounds=1", "training.rounds"), ("runtime.storage=r", "runtime.storage")],
)
def test_resume_rejects_fewer_rounds_and_another_folder(completed: Path, override: str, field: str) -> None:
    before = (completed / "config.yaml").read_bytes()
    with pytest.raises(ConfigError) as caught:
        session.resume(completed, [override], QUIET)
    assert caught.value.field == field
    assert (completed / "config.yaml").read_bytes() == before


def test_resume_with_more_rounds_gives_the_result_of_the_longer_run(completed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(completed, tmp_path / "copy" / completed.name))
    extended = session.resume(folder, ["training.rounds=3"], QUIET)
    config = load_config(None, [*QUICK, "training.rounds=3", f"runtime.storage={tmp_path / 'long'}"])
    assert extended.params_sha256 == session.run(config, QUIET).params_sha256


def test_storage_of_a_trial_is_the_parent_of_its_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    assert session.storage_of(sweep / "trial") == sweep
    (sweep / "sweep.json").write_text("{}")
    assert session.storage_of(sweep / "trial") == tmp_path


def test_first_interrupt_calls_stop_and_second_raises(capfd: pytest.CaptureFixture[str]) -> None:
    before, stops = signal.getsignal(signal.SIGINT), list[bool]()
    with session.on_interrupt(lambda: stops.append(True), "stopping now") as was_interrupted:
        assert not was_interrupted()
        signal.raise_signal(signal.SIGINT)
        assert (was_interrupted(), stops) == (True, [True])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert stops == [True]
    assert "stopping now" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before
