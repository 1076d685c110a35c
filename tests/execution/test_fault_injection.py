"""Faults on purpose: each is met by name, retried without a trace, or left out and counted; never in the numbers."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ConfigError, RoundError
from orchestrator.execution.fault_injection import (
    AggregatorFaultInjector,
    DriverFaultInjector,
    TaskFaultInjector,
)
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.payload import Bits, Dense, Masked, Scalar
from orchestrator.tracking.record import read_records
from tests.support.runs import (
    REMEMBERING,
    comparable,
    drive,
    prepared,
)

#: fault -> the stage of its failure, and a part of the cause; FedDST sends values under a mask
MET: dict[str, tuple[str, str]] = {
    "client_raises": ("train", "InjectedError: chaos.client_raises hit try 0"),
    "update_not_finite": ("admission", "item 'theta' contains values that are not finite"),
    "update_wrong_shape": ("admission", "the model item has"),
    "update_wrong_mask": ("admission", "mask keeps 33800 weights"),
    "update_stale": ("admission", "answers another task: its round_idx is"),
    "update_garbage": ("admission", "WireError"),
}


def chaos(**options: Any) -> TaskFaultInjector:
    return TaskFaultInjector(ExperimentConfig.parse({"chaos": options}))


def task(round_idx: int = 0, client_id: int = 0, **options: Any) -> ClientTask:
    return ClientTask(round_idx=round_idx, position=0, client_id=client_id, **options)


def failures(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "failures.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("fault", MET)
def test_retried_fault_does_not_change_the_result(tmp_path: Path, fault: str) -> None:
    undisturbed = drive(prepared("algorithm.name=feddst"), tmp_path / "undisturbed")
    struck = drive(prepared("algorithm.name=feddst", f"chaos.{fault}=1"), tmp_path / "struck")

    assert struck.params_sha256() == undisturbed.params_sha256()
    stage, words = MET[fault]
    found = failures(tmp_path / "struck")
    assert len(found) == 12
    assert all(f["stage"] == stage and words in f["cause"] for f in found), found[0]
    without = [
        [
            (r, {k: v for k, v in m.items() if not k.startswith("fleet/failures")})
            for r, m in comparable(records)
        ]
        for records in (read_records(tmp_path / name / "metrics.jsonl") for name in ("struck", "undisturbed"))
    ]
    assert without[0] == without[1]


@pytest.mark.parametrize("method", ["fedavg", "heterofl", "fedpm", "topk", "fedspa"])
@pytest.mark.parametrize("fault", ["update_wrong_shape", "update_wrong_mask", "update_garbage"])
def test_every_method_rejects_wrong_updates(tmp_path: Path, method: str, fault: str) -> None:
    """FedPM accepts any bits, so it cannot detect inverted bits."""
    name = f"algorithm.name={method}"
    if (method, fault) == ("fedpm", "update_wrong_mask"):
        pytest.skip("any bits are an answer to fedpm's question")
    base = (name, "training.rounds=1")
    undisturbed = drive(prepared(*base), tmp_path / "undisturbed")
    struck = drive(prepared(*base, f"chaos.{fault}=1"), tmp_path / "struck")
    assert len(failures(tmp_path / "struck")) == 3
    assert struck.params_sha256() == undisturbed.params_sha256()


def test_permanent_fault_ends_the_run_with_its_stage(tmp_path: Path) -> None:
    with pytest.raises(RoundError, match=r"\b3 times\b") as caught:
        drive(prepared("chaos.update_not_finite=1", "chaos.tries=3"), tmp_path)
    assert (caught.value.round_idx, caught.value.stage) == (0, "admission")


def test_dropped_clients_are_an_axis_of_the_experiment(tmp_path: Path) -> None:
    experiment = prepared(REMEMBERING, "chaos.client_raises=0.4", "runtime.failure_policy=drop")
    drive(experiment, tmp_path)
    struck = TaskFaultInjector(experiment.config)
    lost = Counter(f["round_idx"] for f in failures(tmp_path))
    records = read_records(tmp_path / "metrics.jsonl")
    assert 0 < sum(lost.values()) < 12
    for record in records:
        assert record.metrics["fleet/participants"] == 3 - lost[record.round_idx]
    for failure in failures(tmp_path):
        assert struck.fault(task(failure["round_idx"], failure["client_id"])) == "client_raises"


class TestFaultChoice:
    def test_faults_hit_the_configured_share_of_tasks(self) -> None:
        injected = chaos(client_raises=0.2, update_garbage=0.3)
        hits = Counter(injected.fault(task(r, k)) for r in range(100) for k in range(40))
        assert hits["client_raises"] == pytest.approx(800, abs=100)
        assert hits["update_garbage"] == pytest.approx(1200, abs=100)
        assert sum(hits.values()) == 4000

    def test_another_seed_hits_other_tasks(self) -> None:
        hit = [
            {
                (r, k)
                for r in range(20)
                for k in range(20)
                if chaos(client_raises=0.5, seed=s).fault(task(r, k))
            }
            for s in (0, 0, 1)
        ]
        assert hit[0] == hit[1] != hit[2]

    def test_only_first_tries_of_training_tasks_are_hit(self) -> None:
        injected = chaos(client_raises=1.0, tries=2)
        assert [injected.fault(task(attempt=n)) for n in range(3)] == ["client_raises", "client_raises", None]
        assert injected.fault(task(kind="probe")) is None
        assert chaos().fault(task()) is None


class TestSpoiling:
    def test_not_finite(self) -> None:
        values = np.ones(3, np.float32)
        (dense, scalar) = chaos().spoil("update_not_finite", (Dense("a", values), Scalar("b", 1.0)))
        assert isinstance(dense, Dense)
        assert np.isnan(dense.values[0])
        assert np.isinf(dense.values[2])
        assert np.array_equal(values, np.ones(3, np.float32))
        assert scalar == Scalar("b", 1.0)

    def test_wrong_mask_of_a_sparse_model_keeps_everything(self) -> None:
        sent = Masked("theta", np.array([1, 2, 9], np.float32), np.array([True, False, True, False]))
        (item,) = chaos().spoil("update_wrong_mask", (sent,))
        assert isinstance(item, Masked)
        assert item.mask.all()
        assert item.values.tolist() == [0, 0, 0, 0, 9]

    def test_wrong_mask_of_a_whole_model_keeps_nothing(self) -> None:
        sent = Masked("theta", np.array([1, 2, 9], np.float32), np.array([True, True]))
        (item,) = chaos().spoil("update_wrong_mask", (sent,))
        assert isinstance(item, Masked)
        assert not item.mask.any()
        assert item.values.tolist() == [9]

    def test_bits_are_inverted_or_cut(self) -> None:
        bits = (Bits("m", np.array([True, False, False])),)
        (turned,), (cut,) = (chaos().spoil(f, bits) for f in ("update_wrong_mask", "update_wrong_shape"))
        assert isinstance(turned, Bits)
        assert isinstance(cut, Bits)
        assert turned.bits.tolist() == [False, True, True]
        assert cut.bits.tolist() == [True, False]


class TestRejected:
    @pytest.mark.parametrize("fault", ["client_hangs", "client_dies", "driver_dies"])
    def test_in_process_faults_that_kill_the_command_are_rejected(self, fault: str) -> None:
        tree = {"chaos": {fault: 0.5}, "runtime": {"executor": "inprocess", "task_timeout_s": 1}}
        with pytest.raises(ConfigError) as caught:
            ExperimentConfig.parse(tree)
        assert (caught.value.field, caught.value.value) == (f"chaos.{fault}", 0.5)
        assert "runtime.executor=ray" in caught.value.remedy

    def test_hanging_client_needs_a_task_timeout(self) -> None:
        with pytest.raises(ConfigError) as caught:
            ExperimentConfig.parse({"chaos": {"client_hangs": 0.1}})
        assert (caught.value.field, caught.value.value) == ("chaos.client_hangs", 0.1)
        assert "runtime.task_timeout_s" in caught.value.remedy

    def test_shares_with_a_sum_above_one_are_rejected(self) -> None:
        with pytest.raises(ConfigError, match=r"chaos=1\.2: "):
            ExperimentConfig.parse({"chaos": {"client_raises": 0.6, "update_stale": 0.6}})


def test_driver_dies_at_most_once_in_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, signum: deaths.append(signum))
    config = ExperimentConfig.parse({"chaos": {"driver_dies": 0.5}, "training": {"rounds": 40}})
    for _ in range(2):
        for round_idx in range(40):
            DriverFaultInjector(config, tmp_path).strike(round_idx)
    assert 10 < len(deaths) < 30
    assert len(list((tmp_path / "chaos").glob("driver-*"))) == len(deaths)


def test_no_driver_dies_after_the_last_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deaths: list[int] = []
    monkeypatch.setattr("os.kill", lambda pid, signum: deaths.append(signum))
    config = ExperimentConfig.parse({"chaos": {"driver_dies": 1.0}, "training": {"rounds": 3}})
    for round_idx in range(5):
        DriverFaultInjector(config, tmp_path).strike(round_idx)
    assert len(deaths) == 3


def test_aggregator_survives_the_rounds_of_the_others_and_every_retry() -> None:
    """Round 3 of two aggregators is the turn of aggregator 1, at its first try to add the first update."""
    config = ExperimentConfig.parse({"chaos": {"aggregator_dies": 1.0}, "runtime": {"aggregators": 2}})
    AggregatorFaultInjector(config, 0, 2).strike(3, attempt=0, place=0)
    AggregatorFaultInjector(config, 1, 2).strike(3, attempt=1, place=0)
    AggregatorFaultInjector(config, 1, 2).strike(3, attempt=0, place=1)
    AggregatorFaultInjector(ExperimentConfig(), 1, 2).strike(3, attempt=0, place=0)
