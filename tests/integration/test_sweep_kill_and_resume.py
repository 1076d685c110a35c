"""Sweeps that are killed with all processes, or interrupted, resume to the result of uninterrupted sweeps."""

import json
import signal
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from orchestrator.cli.main import run_command_line
from orchestrator.storage.folders import is_run
from orchestrator.sweeping.store import SweepStore
from orchestrator.tracking.record import committed_records
from tests.support.command_process import CommandProcess
from tests.support.hanging_mlflow import hanging_mlflow
from tests.support.sweep_files import (
    base_of,
    digests,
    the_sweep,
    tiny_space,
    undisturbed,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def file_times(store: SweepStore) -> dict[str, int]:
    """Return the modification time of each checkpoint file of the finished trials."""
    files = [
        file
        for ending in store.endings().values()
        if ending.status == "finished" and ending.run_id is not None
        for file in (store.folder / ending.run_id / "commits").iterdir()
    ]
    return {str(file): file.stat().st_mtime_ns for file in files}


def statuses(storage: Path) -> set[str]:
    """Return the statuses of all runs in MLflow, which are the sweep and its trials."""
    client = MlflowClient(f"sqlite:///{storage}/mlflow.db")
    experiment = client.get_experiment_by_name("sparsefleet")
    assert experiment is not None
    return {run.info.status for run in client.search_runs([experiment.experiment_id])}


@pytest.mark.parametrize(
    ("options", "executor"),
    [
        (["sparsity.schedule.kind=[linear, cubic]", "training.lr=[0.02, 0.1]"], "ray"),
        (["--search", "random", "--num-samples", "4"], "inprocess"),
    ],
    ids=["grid", "random"],
)
def test_killed_sweep_resumes_with_the_same_trials_and_results(
    options: list[str], executor: str, tmp_path: Path, local_ray: None
) -> None:
    space, storage = tiny_space(tmp_path), tmp_path / "runs"
    common = ["tracking.enabled=false", f"runtime.executor={executor}", "training.rounds=20"]
    if executor == "ray":
        common.append("sparsity.schedule.final_level=0.8")
    launched = CommandProcess(
        ["sweep", space, "--storage", storage, "--max-concurrent", 2, *common, *options]
    )
    launched.wait_for("trial 2/")
    launched.kill()
    launched.rest()
    store = the_sweep(storage)
    before, trials, finished = file_times(store), store.trials(), set(store.endings())
    assert 2 <= len(finished) < len(trials)

    assert run_command_line(["sweep", str(store.folder), "--resume"]) == 0

    assert store.trials() == trials
    assert {n: e.status for n, e in store.endings().items()} == {t.number: "finished" for t in trials}
    assert file_times(store).items() >= before.items(), "a finished trial was run again"
    base = base_of(store)
    assert digests(store) == {t.number: undisturbed(t, base, tmp_path / "alone") for t in trials}


def test_killed_search_with_early_stopping_runs_each_trial_once(tmp_path: Path, local_ray: None) -> None:
    options = ["--search", "tpe", "--num-samples", "4", "--scheduler", "asha", "--grace-rounds", "2"]
    storage = tmp_path / "runs"
    common = ["tracking.enabled=false", "runtime.executor=inprocess", "--storage", storage]
    launched = CommandProcess(["sweep", tiny_space(tmp_path), *options, *common])
    launched.wait_for("trial 2/4")
    launched.kill()
    launched.rest()
    store = the_sweep(storage)
    recorded, ended = store.trials(), store.endings()

    assert run_command_line(["sweep", "--resume", str(store.folder)]) == 0

    trials = store.trials()
    assert trials[: len(recorded)] == recorded
    assert [trial.number for trial in trials] == list(range(4))
    assert len({str(trial.values) for trial in trials}) == 4
    lines = (store.folder / "endings.jsonl").read_text().splitlines()
    assert len(lines) == 4, "a trial ended twice, or not at all"
    assert store.endings().items() >= ended.items()
    assert Counter(len(store.run_folders(n)) for n in range(4)) == {1: 4}
    assert {ending.status for ending in store.endings().values()} <= {"finished", "stopped"}


@pytest.mark.parametrize(
    ("number", "code", "executor"), [(signal.SIGINT, 130, "inprocess"), (signal.SIGTERM, 143, "ray")]
)
def test_interrupted_sweep_names_the_command_to_resume_and_resumes(
    number: signal.Signals, code: int, executor: str, tmp_path: Path, local_ray: None
) -> None:
    """SIGHUP ends the sweep of the next test."""
    storage = tmp_path / "runs"
    common = [f"runtime.executor={executor}", "training.rounds=40", "--storage", storage]
    launched = CommandProcess(
        ["sweep", tiny_space(tmp_path), "--num-samples", "2", "--max-concurrent", "1", *common]
    )
    launched.wait_for("trial 1/2")
    launched.signal_all(number)
    output = launched.rest(timeout_s=600)
    store = the_sweep(storage)
    assert launched.process.returncode == code, output
    assert "SIGTERM received" not in output, "Ray printed a stack trace"
    assert f"sweep {store.folder} --resume" in output
    assert len(store.endings()) < 2
    assert statuses(storage) <= {"FINISHED", "KILLED"}
    assert "KILLED" in statuses(storage)

    assert run_command_line(["sweep", "tiny", "--resume", "--storage", str(storage)]) == 0

    assert statuses(storage) == {"FINISHED"}
    base = base_of(store)
    assert digests(store) == {t.number: undisturbed(t, base, tmp_path / "alone") for t in store.trials()}


def test_closed_terminal_and_ctrl_c_end_a_sweep_that_waits_for_mlflow(tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    with hanging_mlflow() as uri:
        process = CommandProcess(
            [
                *("sweep", tiny_space(tmp_path), "--num-samples", "2", "--storage", storage),
                *("runtime.executor=inprocess", f"tracking.uri={uri}", "tracking.flush_timeout_s=3600"),
            ]
        )
        process.wait_for("trial 1/2")
        process.signal_all(signal.SIGHUP)
        process.wait_for("Ctrl-C again")
        process.interrupt()
        output = process.rest(timeout_s=120)
    assert process.process.returncode == 129, output
    assert "Traceback" not in output
    store = the_sweep(storage)
    assert f"sweep {store.folder} --resume" in output
    assert len(store.endings()) <= 2


def test_killed_population_resumes_from_its_last_models(tmp_path: Path, local_ray: None) -> None:
    storage = tmp_path / "runs"
    options = ["--scheduler", "pbt", "--num-samples", "4", "--perturb-rounds", "3", "training.rounds=18"]
    common = ["tracking.enabled=false", "runtime.executor=inprocess", "--storage", storage]
    launched = CommandProcess(["sweep", tiny_space(tmp_path), "--verbose", *options, *common])
    launched.wait_for("[Exploit] Cloning trial")
    launched.wait_for("[Exploit] Cloning trial")
    launched.kill()
    launched.rest()
    store = the_sweep(storage)
    started = [path for n in range(4) for path in store.run_folders(n) if is_run(path)]
    before = {path.name: len(committed_records(path)) for path in started}
    assert sum(before.values()) > 0

    assert run_command_line(["sweep", str(store.folder), "--resume"]) == 0

    for number in range(4):
        *earlier, last = store.run_folders(number)
        assert len(committed_records(last)) == 18
        assert all(len(committed_records(path)) >= before.get(path.name, 0) for path in (*earlier, last))
        superseded = [json.loads((path / "run.json").read_text())["superseded_by"] for path in earlier]
        assert superseded == [last.name] * len(earlier)
