"""Early stopping, and the model of the best round, in whole runs."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.errors import ConfigError
from orchestrator.experiment.experiment import Experiment
from orchestrator.storage.best_model import BEST_MODEL, BestModel, best_model_folder
from orchestrator.storage.best_round import BEST_ROUND, NUM_STALE, validation_score
from orchestrator.tracking.record import RoundRecord, read_records
from tests.support.runs import comparable, drive, fresh, new_driver, prepared

#: rates so large that the accuracy does not always improve, and the patience after which the run ends early
UNSTABLE = ("training.lr=0.3", "training.rounds=9")
PATIENT = (*UNSTABLE, "training.stop.patience=3")
METHODS = {
    "fedavg": (UNSTABLE, 3),
    "ditto": (("algorithm.name=ditto", "training.lr=0.2", "training.rounds=12"), 2),
}


def _records(folder: Path) -> list[RoundRecord]:
    return read_records(folder / "metrics.jsonl")


def _kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / BEST_MODEL).glob("*"))


def _by_hand(scores: list[float], patience: int) -> tuple[int, int]:
    """The best round and the number of rounds of a run with these scores."""
    best, stale = 0, 0
    for round_idx, score in enumerate(scores[1:], 1):
        if score > scores[best]:
            best, stale = round_idx, 0
        else:
            stale += 1
        if stale == patience:
            return best, round_idx + 1
    return best, len(scores)


@pytest.mark.parametrize("method", METHODS)
def test_run_stops_where_the_scores_of_a_full_run_say(tmp_path: Path, method: str) -> None:
    options, patience = METHODS[method]
    drive(fresh(*options), tmp_path / "full")
    full = _records(tmp_path / "full")
    scores = [validation_score(record.metrics, personal=method == "ditto") for record in full]
    best, num_rounds = _by_hand([score for score in scores if score is not None], patience)
    assert 0 < best < num_rounds < len(full)
    drive(fresh(*options, f"training.stop.patience={patience}"), tmp_path / "stopped")
    stopped = _records(tmp_path / "stopped")
    assert len(stopped) == num_rounds
    assert stopped[-1].metrics[BEST_ROUND] == best
    assert stopped[-1].metrics[NUM_STALE] == patience
    added = {BEST_ROUND, NUM_STALE}
    for before, after in zip(comparable(full), comparable(stopped), strict=False):
        assert {k: v for k, v in after[1].items() if k not in added} == before[1]
    assert (tmp_path / "stopped" / "model" / "model.safetensors").is_file()
    assert not (tmp_path / "full" / BEST_MODEL).exists()


def test_best_model_is_the_model_of_a_run_that_ends_after_the_best_round(tmp_path: Path) -> None:
    drive(fresh(*UNSTABLE, "training.keep_best=true"), tmp_path / "run")
    best = int(_records(tmp_path / "run")[-1].metrics[BEST_ROUND])
    assert len(_records(tmp_path / "run")) == 9
    assert _kept(tmp_path / "run") == [f"round-{best:06d}"]
    drive(fresh(*UNSTABLE, f"training.rounds={best + 1}"), tmp_path / "short")
    expected = load_file(tmp_path / "short" / "model" / "model.safetensors")
    found = load_file(best_model_folder(tmp_path / "run", best) / "model.safetensors")
    assert expected.keys() == found.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())


@pytest.mark.parametrize("method", METHODS)
def test_killed_run_stops_in_the_same_round_with_the_same_model(tmp_path: Path, method: str) -> None:
    options, patience = METHODS[method]
    experiment = prepared(*options, f"training.stop.patience={patience}")
    undisturbed = drive(experiment, tmp_path / "undisturbed")
    num_rounds = len(_records(tmp_path / "undisturbed"))
    for _ in range(num_rounds):
        drive(experiment, tmp_path / "killed", killed_after=1)
    driver = drive(experiment, tmp_path / "killed")
    assert comparable(_records(tmp_path / "killed")) == comparable(_records(tmp_path / "undisturbed"))
    assert driver.params_sha256() == undisturbed.params_sha256()
    (name,) = _kept(tmp_path / "undisturbed")
    assert _kept(tmp_path / "killed") == [name]
    files = [tmp_path / run / BEST_MODEL / name / "model.safetensors" for run in ("killed", "undisturbed")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_stopped_run_with_more_patience_continues_as_a_patient_run(tmp_path: Path) -> None:
    drive(prepared(*UNSTABLE, "training.stop.patience=2"), tmp_path / "resumed")
    num_rounds = len(_records(tmp_path / "resumed"))
    more_rounds = fresh(*UNSTABLE, "training.stop.patience=2", "training.rounds=14")
    assert list(new_driver(more_rounds, tmp_path / "resumed").run()) == []
    drive(prepared(*PATIENT), tmp_path / "resumed")
    drive(prepared(*PATIENT), tmp_path / "patient")
    assert len(_records(tmp_path / "resumed")) > num_rounds
    assert comparable(_records(tmp_path / "resumed")) == comparable(_records(tmp_path / "patient"))


def test_stopped_round_has_the_scores_of_a_last_round(tmp_path: Path) -> None:
    options, patience = METHODS["ditto"]
    drive(fresh(*options, f"training.stop.patience={patience}", "evaluation.finetune_epochs=1"), tmp_path)
    *others, last = _records(tmp_path)
    assert "finetuned/accuracy_mean" in last.metrics
    assert all("finetuned/accuracy_mean" not in record.metrics for record in others)


def test_asynchronous_run_stops_early(tmp_path: Path) -> None:
    options = ("asynchrony.kind=fedbuff", "asynchrony.buffer_size=2", "runtime.min_clients=1")
    drive(fresh(*PATIENT, *options), tmp_path)
    assert len(_records(tmp_path)) < 9
    assert _records(tmp_path)[-1].metrics[NUM_STALE] == 3


def test_models_of_the_best_rounds_of_the_last_two_commits_stay(tmp_path: Path, digits: Experiment) -> None:
    """Scores 0.2, 0.5, 0.4: the model of round 0 stays until round 2 is committed."""
    model = BestModel(digits, tmp_path, 0)
    params, kept = torch.from_numpy(digits.initial.copy()), []
    for round_idx, score in enumerate((0.2, 0.5, 0.4)):
        model.add(round_idx, {"validation/accuracy": score}, params)
        model.committed()
        kept.append(_kept(tmp_path))
    assert kept == [["round-000000"], ["round-000000", "round-000001"], ["round-000001"]]


@pytest.fixture
def digits() -> Experiment:
    return prepared("training.keep_best=true")


@pytest.mark.parametrize("option", ["training.keep_best=true", "training.stop.patience=3"])
def test_choice_by_validation_data_needs_validation_samples(option: str) -> None:
    with pytest.raises(ConfigError, match="no client has validation samples") as caught:
        fresh(option, "data.validation_fraction=0")
    assert caught.value.field == option.partition("=")[0]
    assert fresh(option, "data.validation_fraction=0.1")


def test_smallest_increase_needs_a_patience() -> None:
    with pytest.raises(ConfigError, match="no run ends early"):
        fresh("training.stop.min_delta=0.1")
