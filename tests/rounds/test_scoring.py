"""Clients score their own models in tasks: in chunks, with retries, and without losing the round."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import RoundError
from orchestrator.execution.executor import Message, TaskHandle, TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import Outcome
from orchestrator.rounds.scoring import SCORING_CHUNK
from tests.support.fakes import cohort
from tests.support.runs import Flaky, drive, prepared
from tests.support.scores import last_metrics, part, shares, spread_by_hand

#: client k predicts class k + n after n tasks, so that its accuracy is a share of its test part
STUBBORN = ("algorithm.name=tests.support.probing_methods:Stubborn", "data.partition.alpha=2")


class Counting(Flaky):
    """Counts the largest number of open requests."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment, {})
        self.num_open = self.max_open = self.num_done = 0

    def submit(self, message: Message, jobs: Sequence[TaskRequest]) -> tuple[TaskHandle, ...]:
        self.num_open += len(jobs)
        self.max_open = max(self.max_open, self.num_open)
        return super().submit(message, jobs)

    def result(self, handle: TaskHandle) -> Outcome[Any]:
        self.num_open -= 1
        self.num_done += 1
        return super().result(handle)


def test_clients_are_scored_in_chunks(tmp_path: Path) -> None:
    """The driver has at most two chunks' messages and states in memory for 40 clients."""
    experiment = prepared(*STUBBORN, "training.rounds=1", "fleet.num_clients=40", "data.partition.kind=iid")
    executor = Counting(experiment)
    drive(experiment, tmp_path, executor=executor)
    participants = cohort(experiment, 0)
    scores = shares(experiment, {k: (k + (k in participants)) % 10 for k in range(40)})
    assert part(last_metrics(tmp_path), "personal/accuracy") == pytest.approx(
        spread_by_hand(scores, "personal/accuracy"), rel=1e-12
    )
    assert executor.num_done == 40 + len(participants)
    assert executor.max_open == 2 * SCORING_CHUNK


def test_failed_scoring_task_is_retried(tmp_path: Path) -> None:
    """Three clients train, so only a scoring task has position 5 in round 3."""
    options = (*STUBBORN, "training.eval_every=4")
    experiment = prepared(*options)
    drive(experiment, tmp_path / "a")
    drive(experiment, tmp_path / "b", executor=Flaky(experiment, {(3, 5): 1}))
    for prefix in ("personal/", "comm/", "fleet/"):
        assert part(last_metrics(tmp_path / "a"), prefix) == part(last_metrics(tmp_path / "b"), prefix)
    (line,) = (tmp_path / "b" / "failures.jsonl").read_text().splitlines()
    assert '"client_id": 5' in line


def test_round_has_its_checkpoint_when_scoring_fails(tmp_path: Path) -> None:
    """The run ends, and a resumed run continues after this round."""
    experiment = prepared(*STUBBORN, "training.rounds=2", "runtime.max_retries=1")
    with pytest.raises(RoundError, match="client 5, round 0"):
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 5): 9}))
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert "eval/accuracy" in line
    assert "personal/accuracy_mean" not in line
    assert len((tmp_path / "failures.jsonl").read_text().splitlines()) == 2
    resumed = drive(experiment, tmp_path)
    assert resumed.params_sha256() == drive(experiment, tmp_path / "undisturbed").params_sha256()


def test_dropped_client_is_not_scored(tmp_path: Path) -> None:
    experiment = prepared(*STUBBORN, "training.rounds=1", "runtime.failure_policy=drop")
    drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 5): 1}))
    participants = cohort(experiment, 0)
    scores = shares(experiment, {k: k + (k in participants) for k in range(5)})
    assert part(last_metrics(tmp_path), "personal/accuracy") == pytest.approx(
        spread_by_hand(scores, "personal/accuracy"), rel=1e-12
    )
