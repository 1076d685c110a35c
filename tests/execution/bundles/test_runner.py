"""Bundles of tasks against the same tasks one by one, in whole rounds and in single calls."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.execution.bundles.runner import BundleRunner
from orchestrator.execution.executor import TaskRequest
from orchestrator.execution.fault_injection import client_runner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.update import ClientFailure, ClientUpdate, Outcome
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.tracking.record import read_records
from tests.support.fakes import DEVICE
from tests.support.fleets import with_profiles
from tests.support.runs import committed, comparable, drive, initial_state, prepared

EQUAL = "data.partition.kind=iid"
#: of rounds on the bundled digits; see docs/architecture.md
TOLERANCE = 1e-5


def _params(experiment: Experiment, folder: Path) -> torch.Tensor:
    return committed(experiment, folder).server_state.params


def _rounds(folder: Path, *overrides: str) -> tuple[torch.Tensor, list[dict[str, float]]]:
    """Run all rounds; the final parameters, and the metrics of each round without the wall clock."""
    experiment = prepared(EQUAL, *overrides)
    drive(experiment, folder)
    records = comparable(read_records(folder / "metrics.jsonl"))
    return _params(experiment, folder), [metrics for _, metrics in records]


def _bundle(experiment: Experiment, client_ids: Sequence[int]) -> tuple[Outcome[Any], ...]:
    state = initial_state(experiment)
    broadcast = Broadcast.of(experiment, state)
    plan = experiment.algorithm.plan(state, 0, tuple(client_ids))
    requests = [TaskRequest(task, experiment.algorithm.init_client(task.client_id)) for task in plan.tasks]
    return BundleRunner(experiment, client_runner(experiment)).run(requests, broadcast.message.buffer)


def _alone(experiment: Experiment, client_id: int) -> Outcome[Any]:
    return _bundle(experiment, [client_id])[0]


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("training.momentum=0.9", "training.weight_decay=0.001", "training.local_epochs=2"),
        ("training.clip_norm=0.5",),
        ("algorithm.name=ssfl",),
        ("algorithm.name=randommask",),
        ("algorithm.name=dispfl",),
        ("algorithm.name=fedper",),
        ("model.name=tests.support.library_models:plain",),
        ("attack.share=0.5", "attack.kind=sign_flip"),
        ("privacy.clip_norm=0.1",),
        ("training.eval_every=1", "evaluation.central_personal=true", "algorithm.name=fedper"),
    ],
    ids=lambda overrides: " ".join(overrides) or "fedavg",
)
def test_rounds_agree_with_single_training(overrides: tuple[str, ...], tmp_path: Path) -> None:
    one, alone = _rounds(tmp_path / "one", *overrides)
    many, together = _rounds(tmp_path / "many", "runtime.cohort=3", *overrides)
    torch.testing.assert_close(many, one, rtol=0.0, atol=TOLERANCE * float(one.abs().max()))
    assert [metrics.keys() for metrics in together] == [metrics.keys() for metrics in alone]
    for ours, reference in zip(together, alone, strict=True):
        for name in ours:
            if name.startswith(("flops/", "time/", "bytes/")):
                assert ours[name] == reference[name], name


@pytest.mark.parametrize(
    "overrides",
    [("algorithm.name=feddst",), ("algorithm.name=scaffold",), ("model.name=tests.support.models:dropout",)],
    ids=lambda overrides: overrides[0],
)
def test_fallback_has_the_bits_of_single_training(overrides: tuple[str, ...], tmp_path: Path) -> None:
    one, _ = _rounds(tmp_path / "one", *overrides)
    many, _ = _rounds(tmp_path / "many", "runtime.cohort=3", *overrides)
    assert torch.equal(one, many)


def test_any_grouping_agrees(tmp_path: Path) -> None:
    base = ("training.clients_per_round=6", "training.momentum=0.9")
    found = [_rounds(tmp_path / str(size), f"runtime.cohort={size}", *base)[0] for size in (1, 2, 4, 5, 6)]
    for params in found[1:]:
        torch.testing.assert_close(params, found[0], rtol=0.0, atol=TOLERANCE)


def test_order_within_a_bundle_changes_no_update_beyond_rounding() -> None:
    experiment = prepared(EQUAL, "runtime.cohort=4")
    forward = _bundle(experiment, [0, 1, 2, 3])
    backward = tuple(reversed(_bundle(experiment, [3, 2, 1, 0])))
    for one, other in zip(forward, backward, strict=True):
        assert isinstance(one, ClientUpdate)
        assert isinstance(other, ClientUpdate)
        assert one.client_id == other.client_id
        values = [np.frombuffer(update.buffer[36:].tobytes(), np.float32) for update in (one, other)]
        np.testing.assert_allclose(values[0], values[1], rtol=0.0, atol=1e-6)


def test_resumed_run_has_the_bits_of_the_uninterrupted_run(tmp_path: Path) -> None:
    experiment = prepared(EQUAL, "runtime.cohort=2", "training.momentum=0.9")
    drive(experiment, tmp_path / "whole")
    drive(experiment, tmp_path / "parts", killed_after=2)
    drive(experiment, tmp_path / "parts")
    assert torch.equal(_params(experiment, tmp_path / "whole"), _params(experiment, tmp_path / "parts"))


def test_run_resumes_with_another_cohort(tmp_path: Path) -> None:
    one, _ = _rounds(tmp_path / "one")
    drive(prepared(EQUAL, "runtime.cohort=3"), tmp_path / "mixed", killed_after=2)
    experiment = prepared(EQUAL)
    drive(experiment, tmp_path / "mixed")
    torch.testing.assert_close(_params(experiment, tmp_path / "mixed"), one, rtol=0.0, atol=TOLERANCE)


def test_tasks_train_together() -> None:
    """A gradient of a batched kernel has other roundings, so equal bits would mean that nothing was stacked."""
    experiment = prepared(EQUAL, "runtime.cohort=4")
    together = _bundle(experiment, [0, 1, 2, 3])
    buffers = []
    for outcome in together:
        assert isinstance(outcome, ClientUpdate), outcome
        alone = _alone(experiment, outcome.client_id)
        assert isinstance(alone, ClientUpdate)
        buffers.append((outcome.buffer.tobytes(), alone.buffer.tobytes()))
        assert outcome.metrics["loss"] == pytest.approx(alone.metrics["loss"], abs=1e-6)
        assert outcome.seconds.keys() == {"decode", "train", "encode"}
        assert outcome.num_examples == alone.num_examples
    assert any(one != other for one, other in buffers)


def test_clients_with_other_batches_still_get_their_updates() -> None:
    """The plan bundles no such clients. If it did, they would train one by one."""
    experiment = prepared("data.partition.alpha=0.3", "runtime.cohort=4")
    for outcome in _bundle(experiment, [0, 1, 2]):
        assert isinstance(outcome, ClientUpdate)
        alone = _alone(experiment, outcome.client_id)
        assert isinstance(alone, ClientUpdate)
        assert np.array_equal(outcome.buffer, alone.buffer)


@pytest.mark.parametrize("hook", ["load", "after_train", "pack"])
def test_task_that_fails_fails_alone(hook: str) -> None:
    experiment = prepared(
        EQUAL, "runtime.cohort=4", "algorithm.name=tests.support.methods:Failing", f"algorithm.hook={hook}"
    )
    outcomes = _bundle(experiment, [1, 2, 3, 4])
    types = [type(outcome) for outcome in outcomes]
    assert types == [ClientUpdate, ClientFailure, ClientUpdate, ClientUpdate]
    alone, failure, update = _alone(experiment, 2), outcomes[1], outcomes[0]
    assert isinstance(alone, ClientFailure)
    assert isinstance(failure, ClientFailure)
    assert (
        (failure.stage, failure.cause)
        == (alone.stage, alone.cause)
        == ("train", f"ZeroDivisionError: in {hook}")
    )
    other = _alone(experiment, 1)
    assert isinstance(other, ClientUpdate)
    assert isinstance(update, ClientUpdate)
    assert not np.array_equal(other.buffer, update.buffer), "the others did not train together"


def test_method_that_trains_before_its_first_epoch_trains_alone() -> None:
    """Its optimiser has moments already."""
    experiment = prepared(EQUAL, "runtime.cohort=4", "algorithm.name=tests.support.methods:EarlyStep")
    for outcome in _bundle(experiment, [1, 2]):
        alone = _alone(experiment, outcome.client_id)
        assert isinstance(outcome, ClientUpdate)
        assert isinstance(alone, ClientUpdate)
        assert np.array_equal(outcome.buffer, alone.buffer)


def test_random_numbers_after_training_are_those_of_single_training() -> None:
    """The method draws from torch's global generator before and after its epochs."""
    experiment = prepared(EQUAL, "runtime.cohort=4", "algorithm.name=tests.support.methods:DrawingTwice")
    for outcome in _bundle(experiment, [1, 2, 3]):
        alone = _alone(experiment, outcome.client_id)
        assert isinstance(outcome, ClientUpdate)
        assert isinstance(alone, ClientUpdate)
        assert outcome.metrics["before"] == alone.metrics["before"]
        assert outcome.metrics["after"] == alone.metrics["after"]


def test_memory_of_the_emulated_device_is_checked_for_each_task() -> None:
    experiment = prepared(EQUAL, "runtime.cohort=4")
    small = replace(DEVICE, name="small", memory_bytes=1000)
    experiment = with_profiles(experiment, [replace(DEVICE, name="large"), small])
    outcomes = _bundle(experiment, [0, 1, 2, 3])
    on_small = [experiment.setting.profile_of(client_id, 0).name == "small" for client_id in range(4)]
    assert [isinstance(outcome, ClientFailure) and outcome.final for outcome in outcomes] == on_small


def test_injected_faults_hit_the_same_tasks(tmp_path: Path) -> None:
    chaos = ("chaos.client_raises=0.3", "chaos.update_garbage=0.2", "runtime.max_retries=3")
    one, alone = _rounds(tmp_path / "one", *chaos)
    many, together = _rounds(tmp_path / "many", "runtime.cohort=3", *chaos)
    torch.testing.assert_close(many, one, rtol=0.0, atol=TOLERANCE)
    found, wanted = (
        [{name: x for name, x in metrics.items() if "fail" in name} for metrics in rounds]
        for rounds in (together, alone)
    )
    assert found == wanted
    assert any(x > 0 for metrics in wanted for x in metrics.values())
