"""A run whose processes are all killed, or that is interrupted, ends where the undisturbed run ends."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.tracking.record import read_records
from tests.support.command_process import CommandProcess

MakeConfig = Callable[..., ExperimentConfig]
QUIET = Progress(quiet=True)
pytestmark = pytest.mark.ray


def launch(config: ExperimentConfig, folder: Path) -> CommandProcess:
    """`sparsefleet run` with a config."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    return CommandProcess(["run", "-c", file])


def run_folder(config: ExperimentConfig) -> Path:
    """The one run in its storage."""
    (folder,) = [path for path in config.runtime.storage.iterdir() if (path / "run.json").is_file()]
    return folder


@pytest.fixture
def long_config(make_config: MakeConfig, tmp_path: Path) -> ExperimentConfig:
    """Long enough to be hit in the middle."""
    return make_config(
        "training.rounds=120",
        "training.eval_every=1",
        "runtime.pool_size=2",
        f"runtime.storage={tmp_path / 'a'}",
    )


@pytest.fixture
def undisturbed(long_config: ExperimentConfig, tmp_path: Path) -> str:
    """Digest of the parameters that the run ends with when nothing happens to it."""
    runtime = long_config.runtime.model_copy(update={"executor": "inprocess", "storage": tmp_path / "b"})
    return session.run(long_config.model_copy(update={"runtime": runtime}), QUIET).params_sha256


def test_killed_with_all_its_processes(
    long_config: ExperimentConfig, undisturbed: str, tmp_path: Path
) -> None:
    launched = launch(long_config, tmp_path)
    launched.wait_for("round 13/120")
    launched.kill()
    launched.rest()
    folder = run_folder(long_config)
    done = len(list((folder / "commits").glob("round-*.json")))
    assert 13 <= done < 120

    summary = session.resume(folder, ["runtime.executor=inprocess"], QUIET)

    assert summary.params_sha256 == undisturbed
    assert [r.round_idx for r in read_records(folder / "metrics.jsonl")] == list(range(120))


def test_interrupted_ends_cleanly_and_says_how_to_go_on(
    long_config: ExperimentConfig, undisturbed: str, tmp_path: Path
) -> None:
    launched = launch(long_config, tmp_path)
    launched.wait_for("round 13/120")
    launched.interrupt()
    said = launched.rest()
    folder = run_folder(long_config)
    assert launched.process.returncode == 130
    assert f"sparsefleet resume {folder}" in said
    assert json.loads((folder / "summary.json").read_text())["interrupted"] is True

    summary = session.resume(folder, ["runtime.actors=pooled"], QUIET)

    assert summary.params_sha256 == undisturbed
    assert summary.interrupted is False
