"""Failed clients: retried without effect on the result, or left out and counted."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from orchestrator.errors import CheckpointError, RoundError, WireError
from orchestrator.experiment.experiment import params_sha256
from orchestrator.tracking.record import RoundRecord, read_records
from tests.support.fakes import cohort
from tests.support.runs import (
    REMEMBERING,
    Eager,
    Flaky,
    committed,
    comparable,
    drive,
    mean_by_samples,
    new_driver,
    prepared,
)


def _records(folder: Path) -> list[RoundRecord]:
    return read_records(folder / "metrics.jsonl")


def _without_failures(records: list[RoundRecord]) -> list[tuple[int, dict[str, float]]]:
    return [
        (r, {k: v for k, v in metrics.items() if not k.startswith("fleet/failures")})
        for r, metrics in comparable(records)
    ]


class TestRetry:
    """By default, the driver retries a failed task, and the retried task gives the same update."""

    @pytest.mark.parametrize(
        "failures",
        [
            {(0, 0): 1},
            {(1, 1): 2},
            {(3, 2): 2},
            {(0, 0): 2, (0, 1): 1, (0, 2): 2},
            {(r, p): 1 for r in range(4) for p in range(3)},
        ],
    )
    def test_retry_does_not_change_the_result(
        self, tmp_path: Path, failures: dict[tuple[int, int], int]
    ) -> None:
        experiment = prepared(REMEMBERING)
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        flaky = Flaky(experiment, failures)
        driver = drive(experiment, tmp_path / "flaky", executor=flaky)
        assert driver.params_sha256() == undisturbed.params_sha256()
        found = _records(tmp_path / "flaky")
        assert _without_failures(found) == _without_failures(_records(tmp_path / "undisturbed"))
        by_round = [sum(n for (r, _), n in failures.items() if r == round_idx) for round_idx in range(4)]
        assert [r.metrics["fleet/failures"] for r in found] == by_round
        assert found[-1].metrics["fleet/failures_total"] == sum(by_round)
        assert len(flaky.submitted) == 12 + sum(by_round)

    @pytest.mark.parametrize("max_retries", [0, 1, 2])
    def test_last_failed_try_ends_the_run(self, tmp_path: Path, max_retries: int) -> None:
        experiment = prepared(f"runtime.max_retries={max_retries}")
        flaky = Flaky(experiment, {(2, 1): max_retries + 1})
        with pytest.raises(RoundError) as caught:
            drive(experiment, tmp_path, executor=flaky)
        client_id = experiment.algorithm.plan(None, 2, cohort(experiment, 2)).tasks[1].client_id
        error = caught.value
        assert (error.client_id, error.round_idx, error.stage) == (client_id, 2, "actor")
        first_line, *rest = str(error).splitlines()
        assert f"killed by the test (tried {max_retries + 1} " in first_line
        assert rest == ["Traceback: the test"]
        assert flaky.submitted.count((2, 1)) == max_retries + 1
        assert [r.round_idx for r in _records(tmp_path)] == [0, 1]

    def test_run_ended_by_failures_can_resume(self, tmp_path: Path) -> None:
        experiment = prepared(REMEMBERING)
        undisturbed = drive(experiment, tmp_path / "undisturbed")
        with pytest.raises(RoundError):
            drive(experiment, tmp_path / "run", executor=Flaky(experiment, {(2, 1): 3}))
        driver = drive(experiment, tmp_path / "run")
        assert driver.params_sha256() == undisturbed.params_sha256()
        assert comparable(_records(tmp_path / "run")) == comparable(_records(tmp_path / "undisturbed"))

    def test_method_that_always_raises_ends_the_run_with_its_error(self, tmp_path: Path) -> None:
        experiment = prepared(
            "algorithm.name=tests.support.methods:Misbehaving",
            "algorithm.client_id=1",
            "fleet.num_clients=3",
        )
        with pytest.raises(RoundError) as caught:
            drive(experiment, tmp_path)
        error = caught.value
        assert (error.client_id, error.round_idx, error.stage) == (1, 0, "train")
        first_line, second_line, *_ = str(error).splitlines()
        assert "ZeroDivisionError: in grad_hook" in first_line
        assert "(tried 3 " in first_line
        assert second_line.startswith("Traceback")


class TestDrop:
    """A failed client's update is left out, as long as enough are left."""

    OPTIONS = ("runtime.failure_policy=drop", REMEMBERING)

    def test_other_updates_are_folded_and_the_failure_is_counted(self, tmp_path: Path) -> None:
        experiment = prepared(*self.OPTIONS, "training.rounds=3")
        flaky = Flaky(experiment, {(0, 1): 1, (2, 0): 1, (2, 2): 5})
        drive(experiment, tmp_path, executor=flaky)
        records = _records(tmp_path)
        assert [r.metrics["fleet/participants"] for r in records] == [2, 3, 1]
        assert [r.metrics["fleet/failures"] for r in records] == [1, 0, 2]
        assert records[-1].metrics["fleet/failures_total"] == 3
        assert len(flaky.submitted) == 9
        events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
        present = [(r, p) for r in range(3) for p in range(3) if (r, p) not in ((0, 1), (2, 0), (2, 2))]
        assert [(e["round_idx"], e["position"]) for e in events] == present

    def test_failed_client_has_no_state_and_no_mask(self, tmp_path: Path) -> None:
        experiment = prepared(*self.OPTIONS, "training.rounds=1")
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 0): 1}))
        _, *others = (
            task.client_id for task in experiment.algorithm.plan(None, 0, cohort(experiment, 0)).tasks
        )
        commit = committed(experiment, tmp_path)
        assert commit.client_states.keys() == commit.shared_masks.keys() == set(others)

    @pytest.mark.parametrize("left", [(0, 1), (0, 2), (1,)])
    def test_average_excludes_failed_clients(self, tmp_path: Path, left: tuple[int, ...]) -> None:
        experiment = prepared("runtime.failure_policy=drop", "training.rounds=1")
        failures = {(0, position): 1 for position in range(3) if position not in left}
        driver = drive(experiment, tmp_path, executor=Flaky(experiment, failures))
        expected = mean_by_samples(experiment, torch.from_numpy(experiment.initial.copy()), 0, left)
        assert driver.params_sha256() == params_sha256(expected)

    @pytest.mark.parametrize(
        ("num_failures", "least", "enough"), [(1, 2, True), (2, 2, False), (3, 1, False)]
    )
    def test_round_needs_min_clients_updates(
        self, tmp_path: Path, num_failures: int, least: int, enough: bool
    ) -> None:
        experiment = prepared(*self.OPTIONS, f"runtime.min_clients={least}", "training.rounds=2")
        flaky = Flaky(experiment, {(1, position): 1 for position in range(num_failures)})
        if enough:
            drive(experiment, tmp_path, executor=flaky)
            assert len(_records(tmp_path)) == 2
            return
        with pytest.raises(RoundError) as caught:
            drive(experiment, tmp_path, executor=flaky)
        assert (caught.value.round_idx, caught.value.num_updates) == (1, 3 - num_failures)
        assert f"runtime.min_clients={least}" in str(caught.value)
        assert str(caught.value).count("ActorDiedError: killed by the test") == num_failures
        assert [r.round_idx for r in _records(tmp_path)] == [0]

    def test_runs_with_the_same_failures_are_equal(self, tmp_path: Path) -> None:
        experiment = prepared(*self.OPTIONS)
        failures = {(0, 1): 1, (1, 2): 1}
        digests = {
            drive(experiment, tmp_path / str(n), executor=Flaky(experiment, failures)).params_sha256()
            for n in range(2)
        }
        assert len(digests) == 1


def test_updates_fold_in_plan_order(tmp_path: Path) -> None:
    """The order in which an executor finishes tasks does not matter."""
    experiment = prepared(REMEMBERING)
    flaky = Flaky(experiment, {})
    lazy = drive(experiment, tmp_path / "lazy", executor=flaky)
    assert flaky.asked_for == flaky.submitted == [(r, p) for r in range(4) for p in range(3)]
    eager = drive(experiment, tmp_path / "eager", executor=Eager(experiment))
    assert eager.params_sha256() == lazy.params_sha256()


class TestBegin:
    """Round 1 of `Exploding` ends well, but float16 cannot represent the model that round 2 would send."""

    OPTIONS = ("algorithm.name=tests.support.methods:Exploding", "wire.value_dtype=float16")

    def test_round_that_cannot_begin_loses_no_finished_round(self, tmp_path: Path) -> None:
        with pytest.raises(WireError, match=r"wire\.value_dtype=float32"):
            drive(prepared(*self.OPTIONS), tmp_path)
        assert [r.round_idx for r in _records(tmp_path)] == [0, 1]

    def test_error_of_the_last_checkpoint_names_the_error_of_the_next_round_too(self, tmp_path: Path) -> None:
        """A file replaces the folder of the checkpoints before the driver writes the checkpoint of round 1."""
        rounds = new_driver(prepared(*self.OPTIONS), tmp_path).run()
        assert next(rounds).round_idx == 0
        shutil.rmtree(tmp_path / "commits")
        (tmp_path / "commits").write_text("")
        with pytest.raises(CheckpointError, match="round 1 ") as caught:
            next(rounds)
        (note,) = caught.value.__notes__
        assert note.startswith("round 2 ")
        assert "WireError(" in note
