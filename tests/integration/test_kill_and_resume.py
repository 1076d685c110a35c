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
from tests.support.endings import ONE_ACTOR, num_committed, run_folder, wait_for_first_checkpoint
from tests.support.ray_runs import MakeConfig

QUIET = Progress(quiet=True)
#: enough rounds to end the run before its last round
NUM_ROUNDS = 60
SYNCHRONOUS = (f"training.rounds={NUM_ROUNDS}", "training.eval_every=1", "training.local_epochs=1")
ASYNCHRONOUS = (*SYNCHRONOUS, "asynchrony.kind=fedbuff", "asynchrony.buffer_size=2")


def launch(config: ExperimentConfig, folder: Path) -> CommandProcess:
    """Start `sparsefleet run` with a config."""
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config.to_dict()))
    return CommandProcess(["run", "-c", file])


def kill(process: CommandProcess) -> None:
    """Kill all processes of a command, and wait for its end."""
    process.kill()
    process.rest()


def undisturbed(config: ExperimentConfig, storage: Path) -> str:
    """Return the digest of the parameters of the same run in this process, without kills."""
    runtime = config.runtime.model_copy(update={"executor": "inprocess", "storage": storage})
    digest = session.run(config.model_copy(update={"runtime": runtime}), QUIET).params_sha256
    assert digest is not None
    return digest


def assert_has_each_round_once(folder: Path) -> None:
    assert [r.round_idx for r in read_records(folder / "metrics.jsonl")] == list(range(NUM_ROUNDS))


@pytest.mark.parametrize("kind", [SYNCHRONOUS, ASYNCHRONOUS], ids=["synchronous", "asynchronous"])
def test_run_in_one_process_resumes_after_three_kills(
    kind: tuple[str, ...], make_config: MakeConfig, tmp_path: Path
) -> None:
    """The kills happen after the first checkpoint, at the start of a resume, and after a checkpoint of a resume."""
    config = make_config(*kind, "runtime.executor=inprocess", f"runtime.storage={tmp_path / 'a'}")
    process = launch(config, tmp_path)
    wait_for_first_checkpoint(process, config.runtime.storage)
    kill(process)
    folder = run_folder(config.runtime.storage)
    process = CommandProcess(["resume", folder])
    process.wait_for(f"{NUM_ROUNDS} rounds")
    kill(process)
    newest = max((folder / "commits").glob("round-*.json")).name
    process = CommandProcess(["resume", folder])
    process.wait_until(lambda: max((folder / "commits").glob("round-*.json")).name > newest)
    kill(process)
    assert num_committed(folder) > 0
    assert not (folder / "summary.json").exists()

    summary = session.resume(folder, [], QUIET)

    assert summary.params_sha256 == undisturbed(config, tmp_path / "b")
    assert_has_each_round_once(folder)


@pytest.mark.ray
def test_run_on_ray_resumes_after_a_kill_and_after_an_interrupt(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    config = make_config(*SYNCHRONOUS, *ONE_ACTOR, f"runtime.storage={tmp_path / 'a'}")
    process = launch(config, tmp_path)
    wait_for_first_checkpoint(process, config.runtime.storage)
    kill(process)
    folder = run_folder(config.runtime.storage)
    num_rounds = num_committed(folder)
    assert 0 < num_rounds < NUM_ROUNDS
    process = CommandProcess(["resume", folder])
    newest = f"round-{num_rounds:06d}.json"
    process.wait_until(lambda: max(path.name for path in (folder / "commits").glob("round-*.json")) > newest)
    process.interrupt()
    output = process.rest(timeout_s=300)
    assert process.process.returncode == 130, output
    assert f"sparsefleet resume {folder}" in output
    assert json.loads((folder / "summary.json").read_text())["interrupted"] is True

    summary = session.resume(folder, ["runtime.executor=inprocess"], QUIET)

    assert (summary.params_sha256, summary.interrupted) == (undisturbed(config, tmp_path / "b"), False)
    assert_has_each_round_once(folder)


@pytest.mark.ray
def test_asynchronous_run_on_ray_resumes_after_three_kills(
    make_config: MakeConfig, tmp_path: Path, local_ray: None
) -> None:
    """All processes of the run are killed, then those of two resumes, at any point of their start."""
    pool = ("runtime.actors=pooled", "runtime.pool_size=2")
    config = make_config(*ASYNCHRONOUS, *pool, f"runtime.storage={tmp_path / 'a'}")
    process = launch(config, tmp_path)
    wait_for_first_checkpoint(process, config.runtime.storage)
    kill(process)
    folder = run_folder(config.runtime.storage)
    for _ in range(2):
        process = CommandProcess(["resume", folder])
        process.wait_for(f"{NUM_ROUNDS} rounds")
        kill(process)

    summary = session.resume(folder, [], QUIET)

    assert summary.params_sha256 == undisturbed(config, tmp_path / "b")
    assert_has_each_round_once(folder)
