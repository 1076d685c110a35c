"""Sessions in this process: changes that a resumed run allows, and the effect of Ctrl-C."""

import json
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.errors import CheckpointError, ConfigError, RequestError, SparsefleetError
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from tests.support.command import QUICK
from tests.support.locking import locking

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


STOPPING = ("training.lr=0.3", "training.local_epochs=1", "training.rounds=9", "training.stop.patience=2")


def test_run_that_stops_early_is_finished_and_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = load_config(None, [*QUICK, *STOPPING, f"runtime.storage={tmp_path}"])
    summary = session.run(config, Progress())
    assert not summary.interrupted
    assert summary.num_rounds < 9
    reason = (
        "no better validation accuracy in 2 evaluations (training.stop.patience=2); "
        f"the best round is {summary.best_round}"
    )
    assert summary.stop_reason == reason
    assert reason in _text(capsys)
    again = session.resume(tmp_path / summary.run_id, ["training.rounds=20"], Progress())
    assert again.num_rounds == summary.num_rounds
    assert again.params_sha256 == summary.params_sha256
    assert f"the run trains no further round: {reason}" in _text(capsys)
    patient = session.resume(tmp_path / summary.run_id, ["training.stop.patience=3"], QUIET)
    assert patient.num_rounds > summary.num_rounds


def _text(capsys: pytest.CaptureFixture[str]) -> str:
    """What the commands have printed, without line breaks."""
    captured = capsys.readouterr()
    return " ".join((captured.out + captured.err).split())


def test_storage_of_a_trial_is_the_parent_of_its_sweep(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    assert session.storage_of(sweep / "trial") == sweep
    (sweep / "sweep.json").write_text("{}")
    assert session.storage_of(sweep / "trial") == tmp_path


def _contents(folder: Path) -> dict[str, bytes]:
    """All files of a run but its lock, with the data that decides whether a request can be accepted."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _change_data(folder: Path) -> None:
    about = json.loads((folder / "run.json").read_text())
    about["fingerprint"]["data"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(about))


def _damage_states(folder: Path) -> None:
    for path in (folder / "commits").glob("server-*"):
        path.write_bytes(b"")


def _lose_pointers(folder: Path) -> None:
    shutil.rmtree(folder / "commits")


@pytest.mark.parametrize(
    ("damage", "override"),
    [
        (_change_data, "tracking.experiment=other"),
        (_damage_states, "tracking.experiment=other"),
        (_lose_pointers, "runtime.max_retries=7"),
        (None, "tracking.uri=nonsense://host"),
        (None, "seed=1"),
        (None, "training.rounds=1"),
        (None, "runtime.failure_policy=sometimes"),
    ],
)
def test_rejected_resume_changes_nothing(
    completed: Path, tmp_path: Path, damage: Callable[[Path], None] | None, override: str
) -> None:
    """Some requests are rejected before the run opens, others when its checkpoint is read."""
    folder = Path(shutil.copytree(completed, tmp_path / "copy" / completed.name))
    (folder / "failure.txt").write_text("RoundError: the attempt before\n")
    if damage is not None:
        damage(folder)
    before = _contents(folder)
    enabled = ["tracking.enabled=true"] if "tracking.uri" in override else []
    with pytest.raises(SparsefleetError) as caught:
        session.resume(folder, ["training.rounds=9", *enabled, override], QUIET)
    after = _contents(folder)
    if not isinstance(caught.value, RequestError):
        after["failure.txt"] = before["failure.txt"]  # says why this attempt failed
    assert after == before


def test_locked_run_stays_as_it_is(completed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(completed, tmp_path / "copy" / completed.name))
    with locking(folder):
        before = _contents(folder) | {"lock": (folder / "lock").read_bytes()}
        with pytest.raises(CheckpointError, match="another process"):
            session.resume(folder, ["training.rounds=9", "tracking.experiment=other"], QUIET)
        assert _contents(folder) | {"lock": (folder / "lock").read_bytes()} == before


def test_trial_of_a_running_sweep_stays_as_it_is(completed: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(completed, tmp_path / "sweep" / completed.name))
    (folder.parent / "sweep.json").write_text("{}")
    before = _contents(folder)
    with locking(folder.parent), pytest.raises(CheckpointError, match="another process"):
        session.resume(folder, ["training.rounds=9"], QUIET)
    assert _contents(folder) == before


def test_run_works_in_a_thread_that_is_not_the_main_one(tmp_path: Path) -> None:
    """Python delivers signals only to the main thread, and only the main thread may install handlers."""
    before = signal.getsignal(signal.SIGTERM)
    config = load_config(None, [*QUICK, f"runtime.storage={tmp_path}"])
    with ThreadPoolExecutor(1) as pool:
        summary = pool.submit(session.run, config, QUIET).result()
    assert (summary.interrupted, summary.num_rounds) == (False, 2)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.ray
def test_run_starts_ray_in_a_thread_that_is_not_the_main_one(tmp_path: Path) -> None:
    config = load_config(None, [*QUICK, "runtime.executor=ray", f"runtime.storage={tmp_path}"])
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(session.run, config, QUIET).result().num_rounds == 2
