"""A trial ends with the same bits as a single run, also when it is closed and reopened at any step."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.overrides import put_values
from orchestrator.display.run_progress import Progress
from orchestrator.errors import CheckpointError, ConfigError
from orchestrator.execution.executor import Executor, InProcessExecutor
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.runtime import session
from orchestrator.storage.run_store import RunStore
from orchestrator.storage.summary import RunSummary
from orchestrator.sweeping.objective import Objective
from orchestrator.sweeping.store import VALUES_NOTE
from orchestrator.sweeping.trial_run import is_complete, open_store, summarise_unfinished
from orchestrator.tracking.record import RoundRecord, committed_records, read_records
from tests.support.runs import comparable
from tests.support.trial_runs import (
    experiment,
    finish,
    labels,
    opened,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a single run of the same config."""
    storage = tmp_path_factory.mktemp("plain")
    tree = put_values(experiment().config.to_dict(), {"runtime.storage": str(storage)})
    summary = session.run(ExperimentConfig.parse(tree), Progress(quiet=True))
    return storage / summary.run_id


def _sha256(folder: Path) -> str | None:
    return RunSummary.read(folder / "summary.json").params_sha256


def _accuracies(folder: Path) -> list[float]:
    return [
        r.metrics["validation/accuracy"]
        for r in read_records(folder / "metrics.jsonl")
        if "validation/accuracy" in r.metrics
    ]


def test_step_trains_until_the_next_evaluation(tmp_path: Path, plain: Path) -> None:
    with opened(tmp_path / "t") as trial:
        first = trial.step()
        assert len(read_records(tmp_path / "t" / "metrics.jsonl")) == 2
        assert not trial.is_finished
        second = trial.step()
        assert trial.is_finished
    accuracies = _accuracies(plain)
    assert len(accuracies) == 2
    assert first == {"round": 2, "run_id": "t", "done": False, "validation_accuracy": accuracies[0]}
    assert second == {"round": 4, "run_id": "t", "done": True, "validation_accuracy": accuracies[1]}


def test_trial_ends_like_a_single_run(tmp_path: Path, plain: Path) -> None:
    summary = finish(tmp_path / "t")
    assert summary.params_sha256 == _sha256(plain)
    records = read_records(tmp_path / "t" / "metrics.jsonl")
    assert comparable(records) == comparable(read_records(plain / "metrics.jsonl"))
    left, right = ((folder / "events.jsonl").read_text().splitlines() for folder in (tmp_path / "t", plain))
    assert len(left) == len(right) > 0
    files = {path.name for path in plain.iterdir()} - {"lock"}
    assert files <= {path.name for path in (tmp_path / "t").iterdir()}


def test_last_round_is_reported_when_evaluations_do_not_divide_the_rounds(tmp_path: Path) -> None:
    with opened(tmp_path / "t", experiment("training.rounds=3")) as trial:
        assert [trial.step()["round"] for _ in range(2)] == [2, 3]
        assert trial.is_finished


def test_trial_that_stops_early_is_finished(tmp_path: Path) -> None:
    """No increase by 0.99 is possible after the first evaluation, so that the second one ends the trial."""
    stops = experiment("training.rounds=12", "training.stop.patience=1", "training.stop.min_delta=0.99")
    for folder in (tmp_path / "t", tmp_path / "t"):  # a finished trial is reported again without training
        with opened(folder, stops) as trial:
            results = [trial.step(), trial.step()]
            assert [(result["round"], result["done"]) for result in results] == [(2, False), (4, True)]
            assert trial.is_finished
    summary = RunSummary.read(tmp_path / "t" / "summary.json")
    assert (summary.num_rounds, summary.interrupted, summary.stop_reason is None) == (4, False, False)


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("num_steps", [0, 1, 2])
def test_reopened_trial_ends_with_the_same_bits(
    tmp_path: Path, plain: Path, num_steps: int, replay: bool
) -> None:
    folder = tmp_path / "t"
    with opened(folder) as trial:
        for _ in range(num_steps):
            trial.step()
    with opened(folder, replay=replay) as trial:
        while not trial.step()["done"]:
            pass
    assert _sha256(folder) == _sha256(plain)
    assert comparable(read_records(folder / "metrics.jsonl")) == comparable(
        read_records(plain / "metrics.jsonl")
    )


@pytest.mark.parametrize(("replay", "rounds"), [(True, [2, 4]), (False, [4])])
def test_replay_reports_earlier_evaluations(
    tmp_path: Path, plain: Path, replay: bool, rounds: list[int]
) -> None:
    with opened(tmp_path / "t") as trial:
        trial.step()
    with opened(tmp_path / "t", replay=replay) as trial:
        results = [trial.step() for _ in rounds]
    assert [result["round"] for result in results] == rounds
    assert [result["validation_accuracy"] for result in results] == _accuracies(plain)[-len(rounds) :]


def test_complete_trial_is_reported_without_training(tmp_path: Path) -> None:
    def no_executor(of: Experiment) -> Executor:
        raise AssertionError("no round is left to train")

    finish(tmp_path / "t")
    with opened(tmp_path / "t", make_executor=no_executor) as trial:
        assert [trial.step()["done"] for _ in range(2)] == [False, True]
    with opened(tmp_path / "t", replay=False, make_executor=no_executor) as trial:
        assert trial.step()["round"] == 4


def test_trial_killed_after_the_last_checkpoint_finishes_without_clients(tmp_path: Path, plain: Path) -> None:
    def no_executor(of: Experiment) -> Executor:
        raise AssertionError("no round is left to train")

    folder = tmp_path / "t"
    finish(folder)
    (folder / "summary.json").unlink()
    (folder / "events.parquet").unlink()
    with opened(folder, make_executor=no_executor, replay=False) as trial:
        assert trial.step()["done"]
    assert _sha256(folder) == _sha256(plain)
    assert (folder / "events.parquet").is_file()


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("num_steps", [1, 2])
def test_round_with_a_torn_checkpoint_is_repeated_and_reported_once(
    tmp_path: Path, plain: Path, num_steps: int, replay: bool
) -> None:
    folder = tmp_path / "t"
    with opened(folder) as trial:
        for _ in range(num_steps):
            trial.step()
    (folder / "summary.json").unlink(missing_ok=True)
    (folder / "commits" / f"server-{2 * num_steps - 1:06d}.safetensors").write_bytes(b"torn")
    reported: list[dict[str, Any]] = []
    with opened(folder, replay=replay) as trial:
        while not reported or not reported[-1]["done"]:
            reported.append(trial.step())
    first = 0 if replay else min(num_steps, 1)
    assert [result["round"] for result in reported] == [2, 4][first:]
    assert [result["validation_accuracy"] for result in reported] == _accuracies(plain)[first:]
    assert _sha256(folder) == _sha256(plain)
    assert comparable(committed_records(folder)) == comparable(committed_records(plain))
    assert (folder / "commits" / f"torn-{2 * num_steps - 1:06d}.json").is_file()


def test_executor_is_created_at_the_first_training_and_closed_with_the_trial(tmp_path: Path) -> None:
    seen = []

    class Counting:
        description = "counting"
        num_workers = 1

        def __init__(self, of: Experiment) -> None:
            self._inner = InProcessExecutor(of)
            self.submit, self.result = self._inner.submit, self._inner.result
            seen.append("made")

        def close(self) -> None:
            self._inner.close()
            seen.append("closed")

    with opened(tmp_path / "t", make_executor=Counting) as trial:
        assert seen == []
        trial.step()
        trial.step()
        assert seen == ["made"]
    assert seen == ["made", "closed"]


def test_record_after_the_last_checkpoint_is_ignored(tmp_path: Path, plain: Path) -> None:
    folder = tmp_path / "t"
    with opened(folder) as trial:
        trial.step()
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(RoundRecord(2, 0, {"eval/accuracy": 0.99}).to_line() + "\n")
    assert [record.round_idx for record in committed_records(folder)] == [0, 1]
    with opened(folder) as trial:
        assert [trial.step()["validation_accuracy"] for _ in range(2)] == _accuracies(plain)
    assert _sha256(folder) == _sha256(plain)


def test_empty_folder_has_no_records(tmp_path: Path) -> None:
    assert committed_records(tmp_path) == []


@pytest.mark.parametrize(
    ("objective", "names"),
    [
        ("pareto", ["validation_accuracy", "upload_bytes"]),
        ("time_to_accuracy=1", ["validation_time_to_accuracy_s"]),
        ("accuracy_at_upload=1", ["validation_accuracy_at_upload"]),
    ],
)
def test_step_reports_the_goals_of_the_objective(tmp_path: Path, objective: str, names: list[str]) -> None:
    with opened(tmp_path / "t", experiment("training.rounds=1"), objective=objective) as trial:
        assert list(trial.step()) == ["round", "run_id", "done", *names]


def test_trial_without_its_final_files_is_not_complete(tmp_path: Path) -> None:
    """The callback writes the summary of a failed trial, which must differ from the summary of a finished trial."""
    folder = tmp_path / "t"
    summary = finish(folder)
    (folder / "summary.json").unlink()
    shutil.rmtree(folder / "model")
    assert summarise_unfinished(folder).num_rounds == summary.num_rounds
    assert not is_complete(folder)
    assert finish(folder).params_sha256 == summary.params_sha256
    assert (folder / "model" / "model.safetensors").is_file()


def test_run_is_locked_during_a_step_only(tmp_path: Path) -> None:
    """The lock ends with the step, because a paused trial may continue in another actor."""
    with opened(tmp_path / "t") as trial:
        with (
            RunStore(tmp_path / "t").locked(),
            pytest.raises(CheckpointError, match="in use"),
        ):
            trial.step()
        with opened(tmp_path / "t") as other:
            other.step()


def test_run_json_has_labels_and_values(tmp_path: Path) -> None:
    store = open_store(experiment(), tmp_path / "t", labels(training_lr=0.1))
    about = store.about()
    assert (about["run_id"], about["name"], about[VALUES_NOTE]) == (
        "t",
        "feddst lr=0.1",
        {"training_lr": 0.1},
    )
    assert about["tags"].items() >= {"sweep": "sw-1", "trial": "0", "method": "feddst"}.items()
    assert store.config() == experiment().config.to_dict()


def test_trial_without_a_validation_sample_is_rejected() -> None:
    """Clients with a single sample train on it, whatever the fraction."""
    single = experiment(
        "data.partition.kind=iid",
        "data.partition.min_samples=1",
        "data.validation_fraction=0.1",
        "fleet.num_clients=1438",
    )
    assert single.partition.train.sizes().tolist() == [1] * 1438
    num_samples = len(single.partition.validation.indices)
    with pytest.raises(ConfigError) as caught:
        Objective.parse("accuracy").require_data(single.config.data, num_samples)
    assert caught.value.field == "data.validation_fraction"
    Objective.parse("test_accuracy").require_data(single.config.data, num_samples)


def test_open_rejects_run_of_another_config(tmp_path: Path) -> None:
    open_store(experiment(), tmp_path / "t", labels())
    with pytest.raises(CheckpointError, match="config"):
        open_store(experiment("training.lr=0.3"), tmp_path / "t", labels())


def test_incomplete_run_folder_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("left by a kill\n")
    store = open_store(experiment(), folder, labels())
    assert store.about()["run_id"] == "t"
    assert not (folder / "metrics.jsonl").exists()


def test_only_run_with_all_rounds_is_complete(tmp_path: Path) -> None:
    folder = tmp_path / "t"
    assert not is_complete(folder)
    with opened(folder) as trial:
        trial.step()
    assert not is_complete(folder)
    stopped = summarise_unfinished(folder)
    assert (stopped.interrupted, stopped.num_rounds, stopped.params_sha256) == (True, 2, None)
    assert json.loads((folder / "summary.json").read_text()) == stopped.to_dict()
    assert not is_complete(folder)
    summary = finish(folder)
    assert is_complete(folder)
    assert json.loads((folder / "summary.json").read_text()) == summary.to_dict()
    (folder / "run.json").unlink()
    assert not is_complete(folder)
