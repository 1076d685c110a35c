"""Sweeps on Ray: concurrent trials, failures, population-based training, one copy of the data."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from algorithms import ALGORITHMS
from orchestrator.api import load_sweep, sweep
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.sweeping.result import SweepResult
from orchestrator.sweeping.store import SweepStore
from orchestrator.tracking.record import read_records
from tests.support.command_process import CommandProcess
from tests.support.sweep_files import (
    base_of,
    config_of,
    digests,
    the_sweep,
    tiny_space,
    undisturbed,
)

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
QUIET = SweepProgress(quiet=True)

#: a device whose client reserves a whole core, so that one client and a driver fit on two cores
GREEDY = """
name: greedy
summary: a core each
profiles:
  - name: greedy
    share: 1
    num_cpus: 1.0
    flops_per_s: 1.0e9
    uplink_bytes_per_s: 1.0e6
    downlink_bytes_per_s: 1.0e6
"""


def test_four_trials_with_more_clients_than_fit_do_not_deadlock(tmp_path: Path) -> None:
    """Each trial requests six actors of one core; all four trials run at the same time on any number of cores."""
    fleet = tmp_path / "greedy.yaml"
    fleet.write_text(GREEDY)
    words = [
        *("sweep", tiny_space(tmp_path), "--storage", tmp_path / "runs", "--max-concurrent", 4),
        *("--num-samples", 4, "--quiet", "tracking.enabled=false", f"fleet.name={fleet}"),
        *("runtime.pool_size=6", "training.clients_per_round=6", "training.rounds=2"),
    ]
    command = CommandProcess(words)
    output = command.rest(timeout_s=600)
    assert command.process.returncode == 0, output
    store = the_sweep(tmp_path / "runs")
    assert [store.endings()[number].status for number in range(4)] == ["finished"] * 4


def test_smoke_sweep_ends_with_a_table_of_its_trials(tmp_path: Path) -> None:
    """All settings have their defaults: client actors, MLflow, the report. Three minutes are more than enough."""
    command = CommandProcess(
        ["sweep", "smoke", "--storage", tmp_path / "runs", "--summary", tmp_path / "s.json"]
    )
    output = command.rest(timeout_s=180)
    assert command.process.returncode == 0, output
    best = json.loads((tmp_path / "s.json").read_text())["configurations"][0]
    assert f"best  {best['label']}" in output
    assert best["is_best"]
    store = the_sweep(tmp_path / "runs")
    assert (store.report / "report.html").is_file()
    assert f"ui --storage {tmp_path / 'runs'}" in output
    assert not (store.folder / "tune").exists()


def test_run_with_seeds_ends_with_a_table_of_the_seeds(tmp_path: Path) -> None:
    words = [
        *("run", "--seeds", 2, "seed=5", f"runtime.storage={tmp_path / 'runs'}", "tracking.enabled=false"),
        *("runtime.executor=inprocess", "training.rounds=1", "training.local_epochs=1"),
    ]
    command = CommandProcess(words)
    output = command.rest(timeout_s=180)
    assert command.process.returncode == 0, output
    result = load_sweep("sweep", storage=tmp_path / "runs")
    assert result.to_dataframe()["seed"].tolist() == [5, 6]
    assert [run.config.seed for run in result.runs] == [5, 6]
    rows = [line.split() for line in output.splitlines() if line[:4] in ("5   ", "6   ", "mean")]
    accuracies = result.to_dataframe()["accuracy"]
    assert [row[1] for row in rows[:2]] == [f"{100 * accuracy:.2f}%" for accuracy in accuracies]
    assert rows[2][1].startswith(f"{100 * accuracies.mean():.2f}±")


@pytest.mark.thorough
def test_every_method_ends_its_trial(tmp_path: Path) -> None:
    words = ["sweep", "algorithms", "--storage", tmp_path / "runs", "--quiet", "tracking.enabled=false"]
    command = CommandProcess(
        [*words, "runtime.executor=inprocess", "training.rounds=2", "training.local_epochs=1"]
    )
    output = command.rest(timeout_s=600)
    assert command.process.returncode == 0, output
    store = the_sweep(tmp_path / "runs")
    found = {ending.values["algorithm.name"]: ending.status for ending in store.endings().values()}
    assert found == dict.fromkeys(ALGORITHMS, "finished")


@pytest.mark.parametrize(
    ("options", "executor"),
    [
        ({"scheduler": "asha", "grace_rounds": 2, "num_samples": 4}, "ray"),
        ({"scheduler": "median", "grace_rounds": 2, "num_samples": 4}, "inprocess"),
        ({"search": "nsga2", "objective": "pareto", "num_samples": 3}, "inprocess"),
    ],
    ids=["asha", "median", "nsga2"],
)
def test_finished_trials_have_the_bits_of_single_runs(
    options: dict[str, Any], executor: str, tmp_path: Path, local_ray: None
) -> None:
    """This includes trials that use the client actors of a stopped trial."""
    result = tiny_sweep(tmp_path, {"training.rounds": 6}, executor=executor, **options)
    store = SweepStore(result.folder)
    endings, base = store.endings(), base_of(store)
    assert len(endings) == options["num_samples"]
    assert result.num_failed == 0
    finished = {number: digest for number, digest in digests(store).items() if digest is not None}
    assert {number for number, ending in endings.items() if ending.status == "finished"} == set(finished)
    trials = {trial.number: trial for trial in store.trials()}
    assert finished == {number: undisturbed(trials[number], base, tmp_path / "alone") for number in finished}
    fronts = [one for one in result.configurations if one.is_best]
    assert fronts
    assert fronts == list(result.configurations[: len(fronts)])


def test_failed_trial_has_its_cause_and_other_trials_continue(tmp_path: Path, local_ray: None) -> None:
    result = tiny_sweep(
        tmp_path,
        {
            "training.lr": 0.1,
            "sparsity.schedule": {"kind": "constant"},
            "training.rounds": 2,
            "data.partition.min_samples": [2, 700],
        },
    )
    assert (result.num_finished, result.num_failed) == (1, 1)
    store = SweepStore(result.folder)
    failed = store.endings()[1]
    assert failed.status == "failed"
    assert "data.partition" in failed.cause
    assert "PartitionError" in failed.cause
    assert result.configurations[-1].objective is None
    assert result.best is not None
    assert result.best.values["data.partition.min_samples"] == 2


def test_trials_have_the_bits_of_single_runs_and_the_same_partitions(tmp_path: Path, local_ray: None) -> None:
    chosen = {
        "sparsity.schedule.kind": ["linear", "cubic"],
        "sparsity.schedule.final_level": 0.8,
        "training.lr": 0.1,
    }
    result = tiny_sweep(tmp_path, {**chosen, "training.rounds": 3}, seeds=2, executor="ray")
    store = SweepStore(result.folder)
    trials = store.trials()
    base = base_of(store)
    assert [(t.values["sparsity.schedule.kind"], t.values["seed"]) for t in trials] == [
        ("linear", 0), ("linear", 1), ("cubic", 0), ("cubic", 1),
    ]  # fmt: skip
    assert digests(store) == {t.number: undisturbed(t, base, tmp_path / "alone") for t in trials}
    splits = [
        json.loads((store.run_folder(t.number) / "run.json").read_text())["fingerprint"] for t in trials
    ]
    assert (
        splits[0]["partition"] == splits[2]["partition"] != splits[1]["partition"] == splits[3]["partition"]
    )


def test_population_based_training_changes_only_what_the_space_declares(
    tmp_path: Path, local_ray: None
) -> None:
    result = tiny_sweep(tmp_path, {}, scheduler="pbt", num_samples=4, perturb_rounds=3)
    assert result.num_finished == 4
    store = SweepStore(result.folder)
    runs = [store.run_folders(number) for number in range(4)]
    taken_over = [(earlier, later) for folders in runs for earlier, later in pairwise(folders)]
    assert taken_over, "nothing was exploited: raise the number of perturbations"
    for _, later in taken_over:
        about = json.loads((later / "run.json").read_text())
        donor = store.folder / about["tags"]["taken_over_from"]
        before, after = config_of(donor), config_of(later)
        changed = {key for key in before if before[key] != after[key]}
        assert changed <= {"training.lr", "sparsity.schedule.final_level"}
        assert 0.005 <= after["training.lr"] <= 0.2
        assert 0.6 <= after["sparsity.schedule.final_level"] <= 0.95
        past = [record.to_line() for record in read_records(later / "metrics.jsonl")]
        of_donor = [record.to_line() for record in read_records(donor / "metrics.jsonl")]
        shared = sum(a == b for a, b in zip(past, of_donor, strict=False))
        assert shared >= 3
        assert past[:shared] == of_donor[:shared], "its history is the donor's up to where it took over"
    for folders in runs:
        marks = [json.loads((folder / "run.json").read_text()).get("superseded_by") for folder in folders]
        assert marks == [folders[-1].name] * (len(folders) - 1) + [None]
    assert all(len(read_records(folders[-1] / "metrics.jsonl")) == 12 for folders in runs)


def tiny_sweep(
    folder: Path, overrides: dict[str, Any], *, executor: str = "inprocess", **options: Any
) -> SweepResult:
    """A sweep of the tiny space, without MLflow."""
    common = {
        "runtime.storage": str(folder / "runs"),
        "runtime.executor": executor,
        "tracking.enabled": False,
    }
    return sweep(str(tiny_space(folder)), {**common, **overrides}, display=QUIET, **options)
