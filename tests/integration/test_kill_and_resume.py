"""A run that is killed with all its processes, or interrupted, resumes to the result of an uninterrupted run."""

import json
from pathlib import Path

import pytest
import yaml

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.tracking.record import read_records
from tests.support.command_process import CommandProcess
from tests.support.endings import wait_for_first_checkpoint
from tests.support.ray_runs import MakeConfig

QUIET = Progress(quiet=True)
pytestmark = pytest.mark.ray
ASYNCHRONOUS = (
    "training.rounds=120",
    "asynchrony.kind=fedbuff",
    "asynchrony.buffer_size=2",
    "runtime.actors=pooled",
    "runtime.pool_size=2",
)


def launch(config: ExperimentConfig, folder: Path) -> CommandProcess:
    """Start `sparsefleet run` with a config."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    return CommandProcess(["run", "-c", file])


def run_folder(config: ExperimentConfig) -> Path:
    """Return the folder of the only run in the storage folder."""
    (folder,) = [path for path in config.runtime.storage.iterdir() if (path / "run.json").is_file()]
    return folder


@pytest.fixture
def long_config(make_config: MakeConfig, tmp_path: Path) -> ExperimentConfig:
    """A config with enough rounds to interrupt the run before its end."""
    return make_config(
        "training.rounds=120",
        "training.eval_every=1",
        "runtime.pool_size=2",
        f"runtime.storage={tmp_path / 'a'}",
    )


@pytest.fixture
def expected_digest(long_config: ExperimentConfig, tmp_path: Path) -> str:
    """Digest of the parameters of the uninterrupted run."""
    runtime = long_config.runtime.model_copy(update={"executor": "inprocess", "storage": tmp_path / "b"})
    return session.run(long_config.model_copy(update={"runtime": runtime}), QUIET).params_sha256


def test_run_resumes_after_all_its_processes_were_killed(
    long_config: ExperimentConfig, expected_digest: str, tmp_path: Path
) -> None:
    process = launch(long_config, tmp_path)
    process.wait_for("round 13/120")
    process.kill()
    process.rest()
    folder = run_folder(long_config)
    done = len(list((folder / "commits").glob("round-*.json")))
    assert 13 <= done < 120

    summary = session.resume(folder, ["runtime.executor=inprocess"], QUIET)

    assert summary.params_sha256 == expected_digest
    assert [r.round_idx for r in read_records(folder / "metrics.jsonl")] == list(range(120))


def test_asynchronous_run_resumes_after_three_kills(make_config: MakeConfig, tmp_path: Path) -> None:
    """All processes of the run are killed, then those of two resumes, at any point of their start."""
    config = make_config(*ASYNCHRONOUS, f"runtime.storage={tmp_path / 'a'}")
    process = launch(config, tmp_path)
    wait_for_first_checkpoint(process, config.runtime.storage)
    process.kill()
    process.rest()
    folder = run_folder(config)
    for _ in range(2):
        process = CommandProcess(["resume", folder])
        process.wait_for("120 rounds")
        process.kill()
        process.rest()

    process = CommandProcess(["resume", folder])
    output = process.rest(timeout_s=300)

    assert process.process.returncode == 0, output
    alone = config.runtime.model_copy(update={"executor": "inprocess", "storage": tmp_path / "b"})
    undisturbed = session.run(config.model_copy(update={"runtime": alone}), QUIET)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["params_sha256"] == undisturbed.params_sha256
    assert [r.round_idx for r in read_records(folder / "metrics.jsonl")] == list(range(120))


def test_interrupted_run_ends_in_order_and_names_the_command_to_resume(
    long_config: ExperimentConfig, expected_digest: str, tmp_path: Path
) -> None:
    process = launch(long_config, tmp_path)
    process.wait_for("round 13/120")
    process.interrupt()
    output = process.rest()
    folder = run_folder(long_config)
    assert process.process.returncode == 130
    assert f"sparsefleet resume {folder}" in output
    assert json.loads((folder / "summary.json").read_text())["interrupted"] is True

    summary = session.resume(folder, ["runtime.actors=pooled"], QUIET)

    assert summary.params_sha256 == expected_digest
    assert summary.interrupted is False
