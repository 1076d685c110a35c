"""Probes before a round, messages to one client, and updates without a model."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator.errors import RoundError
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.experiment import Experiment, params_sha256
from orchestrator.federation.exchange import known_masks, unpack_model
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientFailure, ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.rounds.driver import Driver
from orchestrator.sparsity.payload import Masked
from orchestrator.sparsity.wire import decode, encode
from orchestrator.tracking.record import read_records
from tests.support.fakes import cohort
from tests.support.runs import (
    Eager,
    Flaky,
    committed,
    drive,
    initial_state,
    prepared,
)

ASKING = "algorithm.name=tests.support.probing_methods:Asking"
TAILORED = "algorithm.name=tests.support.message_methods:Tailored"
#: the perceptron on 8x8 images, 64-200-100-10
WEIGHTS, SIZE = 33_800, 34_110
HEADERS = 12 + 16 + 8
BITMAP = -(-WEIGHTS // 8)


def events(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def metrics(folder: Path) -> list[dict[str, float]]:
    return [record.metrics for record in read_records(folder / "metrics.jsonl")]


def gradient_step(experiment: Experiment, params: Tensor, clients: Sequence[int]) -> Tensor:
    """float32[D]: half a step along the gradient over all images of these clients together."""
    rows = np.concatenate([experiment.partition.train[k] for k in clients])
    dataset, flat = experiment.dataset, experiment.new_model()
    flat.load(params)
    flat.module.train()
    inputs, labels = (
        dataset.to_tensor(dataset.train_inputs[rows]),
        torch.from_numpy(dataset.train_labels[rows]),
    )
    torch.autograd.backward(cross_entropy(flat.module(inputs), labels))
    return params - 0.5 * flat.grad


class TestProbes:
    """`Asking` probes clients 4 and 1 for a gradient before rounds 0, 2, ..."""

    def test_probes_run_before_the_training_of_their_round(self, tmp_path: Path) -> None:
        experiment = prepared(ASKING)
        drive(experiment, tmp_path)
        found = [(e["round_idx"], e["kind"], e["position"]) for e in events(tmp_path)]
        asked, trained = [("probe", 0), ("probe", 1)], [("train", 0), ("train", 1), ("train", 2)]
        assert found == [(r, *task) for r in range(4) for task in ((asked if r % 2 == 0 else []) + trained)]
        assert {e["client_id"] for e in events(tmp_path) if e["kind"] == "probe"} == {4, 1}

    def test_clients_train_from_the_probed_state(self, tmp_path: Path) -> None:
        experiment = prepared(ASKING, "training.rounds=1")
        drive(experiment, tmp_path)
        start = torch.from_numpy(experiment.initial.copy())
        expected = gradient_step(experiment, start, (4, 1))
        commit = committed(experiment, tmp_path)
        sampled = cohort(experiment, 0)
        for k in sampled:
            assert torch.allclose(commit.client_states[k].start, expected, rtol=0, atol=1e-6)
            assert not torch.allclose(commit.client_states[k].start, start, rtol=0, atol=1e-3)

    def test_answers_are_averaged_by_samples(self, tmp_path: Path) -> None:
        """Each client sends its number of samples n; the weighted mean is sum n^2 / sum n."""
        experiment = prepared(ASKING, "training.rounds=1")
        drive(experiment, tmp_path)
        first, second = (len(experiment.partition.train[k]) for k in (4, 1))
        found = float(committed(experiment, tmp_path).server_state.images)
        assert found == pytest.approx((first**2 + second**2) / (first + second), rel=1e-12)

    def test_probe_changes_the_client_state(self, tmp_path: Path) -> None:
        """Also when it trains in the same round, as every client does."""
        experiment = prepared(ASKING, "training.clients_per_round=6")
        drive(experiment, tmp_path)
        states = committed(experiment, tmp_path).client_states
        assert {k: state.num_answers for k, state in states.items()} == {
            k: 2 if k in (1, 4) else 0 for k in range(6)
        }
        assert all(bool(state.start.count_nonzero()) for state in states.values())

    def test_bytes_operations_and_seconds_are_in_the_round_s(self, tmp_path: Path) -> None:
        """An answer is a gradient and a number, and two names of 8 bytes; a gradient costs a training step."""
        experiment = prepared(ASKING, "fleet.name=five-tier")
        drive(experiment, tmp_path)
        down, up = HEADERS + 4 * SIZE, 12 + (24 + 4 * SIZE) + (24 + 8)
        for round_idx, row in enumerate(metrics(tmp_path)):
            mine = [e for e in events(tmp_path) if e["round_idx"] == round_idx]
            probes = [e for e in mine if e["kind"] == "probe"]
            training = [e for e in mine if e["kind"] == "train"]
            for event in probes:
                flops = 6 * WEIGHTS * len(experiment.partition.train[event["client_id"]])
                profile = experiment.setting.profile_of(event["client_id"], 0)
                assert (event["download_bytes"], event["upload_bytes"]) == (down, up)
                assert event["train_flops"] == event["train_flops_dense"] == pytest.approx(flops)
                assert event["compute_s"] == pytest.approx(flops / profile.flops_per_s)
            assert len(probes) == (2 if round_idx % 2 == 0 else 0)
            assert row["comm/download_bytes"] == down * len(mine)
            assert row["comm/upload_bytes"] == up * len(probes) + down * 3
            assert row["compute/train_flops"] == pytest.approx(sum(e["train_flops"] for e in mine))
            slowest = [
                max(e["download_s"] + e["compute_s"] + e["upload_s"] for e in phase)
                for phase in (probes, training)
                if phase
            ]
            assert row["time/emulated_s"] == pytest.approx(sum(slowest), rel=1e-12)
            examples = sum(e["num_examples"] for e in training)
            loss = sum(e["train_loss"] * e["num_examples"] for e in training) / examples
            assert row["train/loss"] == pytest.approx(loss, rel=1e-12)
            assert row["fleet/participants"] == 3

    def test_order_of_completion_does_not_matter(self, tmp_path: Path) -> None:
        experiment = prepared(ASKING)
        lazy = drive(experiment, tmp_path / "lazy")
        eager = drive(experiment, tmp_path / "eager", executor=Eager(experiment))
        assert eager.params_sha256() == lazy.params_sha256()

    def test_failed_probe_is_retried_and_counted(self, tmp_path: Path) -> None:
        """(2, 0) is the place of a probe, and then of a training task: the first two tries are the probe's."""
        experiment = prepared(ASKING)
        undisturbed = drive(experiment, tmp_path / "a")
        flaky = Flaky(experiment, {(2, 0): 2})
        assert (
            drive(experiment, tmp_path / "b", executor=flaky).params_sha256() == undisturbed.params_sha256()
        )
        assert [m["fleet/failures"] for m in metrics(tmp_path / "b")] == [0, 0, 2, 0]
        assert len(flaky.submitted) == 4 * 3 + 2 * 2 + 2

    def test_too_few_probe_updates_end_the_run_after_the_last_checkpoint(self, tmp_path: Path) -> None:
        experiment = prepared(ASKING, "runtime.failure_policy=drop", "runtime.min_clients=2")
        with pytest.raises(RoundError, match="client 4") as caught:
            drive(experiment, tmp_path, executor=Flaky(experiment, {(2, 0): 1}))
        assert (caught.value.round_idx, caught.value.num_updates) == (2, 1)
        assert len(metrics(tmp_path)) == 2

    def test_method_with_probes_needs_on_probe(self) -> None:
        experiment = prepared("training.rounds=1")
        state = initial_state(experiment)
        broadcast = Broadcast.of(experiment, state)
        request = broadcast.request(ClientTask(round_idx=0, position=0, client_id=0, kind="probe"), None)
        failure = ClientRunner(experiment).run(request.task, broadcast.message.buffer, request.unicast, None)
        assert isinstance(failure, ClientFailure)
        assert failure.stage == "probe"
        assert failure.cause.startswith("NotImplementedError: FedAvg ")
        assert "on_probe" in failure.cause


class TestUnicast:
    """`Tailored` sends nothing to all, and to each client its own half of the weights."""

    @pytest.mark.parametrize(("dtype", "value_bytes"), [("float32", 4), ("float16", 2)])
    @pytest.mark.parametrize("renew_every", [100, 2, 1])
    def test_unicast_mask_is_billed_only_to_clients_without_it(
        self, tmp_path: Path, renew_every: int, dtype: str, value_bytes: int
    ) -> None:
        experiment = prepared(
            TAILORED,
            f"algorithm.renew_every={renew_every}",
            f"wire.value_dtype={dtype}",
            "sparsity.allocation=uniform",
            "training.clients_per_round=6",
            "training.rounds=5",
        )
        drive(experiment, tmp_path)
        kept = WEIGHTS // 2 + 310
        for event in events(tmp_path):
            new = event["round_idx"] % renew_every == 0
            assert event["upload_bytes"] == HEADERS + value_bytes * kept
            assert event["download_bytes"] == HEADERS + value_bytes * kept + (BITMAP if new else 0)
        assert len(events(tmp_path)) == 5 * 6
        assert committed(experiment, tmp_path).shared_masks == {}

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_client_starts_from_its_unicast(self, tmp_path: Path, dtype: str) -> None:
        experiment = prepared(TAILORED, f"wire.value_dtype={dtype}", "training.rounds=1")
        drive(experiment, tmp_path)
        start = torch.from_numpy(experiment.initial.copy())
        states = committed(experiment, tmp_path).client_states
        assert len(states) == 3
        for k, state in states.items():
            mask = experiment.algorithm.mask(ClientTask(round_idx=0, position=0, client_id=k))
            assert torch.equal(state.mask, mask)
            rounded = start.half().float() if dtype == "float16" else start
            assert torch.equal(state.start, rounded * mask)
        first, second, third = (state.mask for state in states.values())
        assert not torch.equal(first, second)
        assert not torch.equal(second, third)

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_changes_are_measured_from_what_each_client_received(self, tmp_path: Path, dtype: str) -> None:
        """dmean: w + sum a_k m_k (w_k - w_k0) / sum a_k, with w_k0 encoded and decoded here."""
        experiment = prepared(TAILORED, f"wire.value_dtype={dtype}", "training.rounds=1")
        drive(experiment, tmp_path)
        start = torch.from_numpy(experiment.initial.copy())
        layout, algorithm = experiment.setting.layout, experiment.algorithm
        total, from_unrounded, num_images = torch.zeros(SIZE).double(), torch.zeros(SIZE).double(), 0
        for task in algorithm.plan(None, 0, cohort(experiment, 0)).tasks:
            mask = algorithm.mask(task)
            item = Masked("theta", start[mask].numpy(), layout.restrict(mask).numpy())
            buffer = np.frombuffer(encode((item,), value_dtype=dtype), np.uint8)  # type: ignore[arg-type]
            empty, brought = np.empty(0, np.uint8), algorithm.init_client(task.client_id)
            update = ClientRunner(experiment).run(task, empty, buffer, brought)
            assert isinstance(update, ClientUpdate), update
            model = unpack_model(layout, decode(update.buffer, known_masks=known_masks(layout, mask)))
            assert model is not None
            arrived = (start.half().float() if dtype == "float16" else start) * mask
            size = len(experiment.partition.train[task.client_id])
            total += size * (model.values.double() - arrived.double())
            from_unrounded += size * (model.values.double() - (start * mask).double())
            num_images += size
        found = committed(experiment, tmp_path).server_state.params
        assert torch.allclose(found, (start.double() + total / num_images).float(), rtol=0, atol=1e-7)
        if dtype == "float16":
            other = (start.double() + from_unrounded / num_images).float()
            assert not torch.allclose(found, other, rtol=0, atol=1e-5)

    def test_failed_client_is_billed_again_for_the_mask(self, tmp_path: Path) -> None:
        """The failed task loses the mask, so the client is billed again in its next round."""
        experiment = prepared(
            TAILORED,
            "runtime.failure_policy=drop",
            "training.clients_per_round=6",
            "training.rounds=2",
        )
        drive(experiment, tmp_path, executor=Flaky(experiment, {(0, 3): 1}))
        lost = experiment.algorithm.plan(None, 0, cohort(experiment, 0)).tasks[3].client_id
        later = {
            e["client_id"]: e["download_bytes"] - e["upload_bytes"]
            for e in events(tmp_path)
            if e["round_idx"] == 1
        }
        assert later == {k: BITMAP if k == lost else 0 for k in range(6)}


class TestWithoutAModel:
    """`Voting` sends three bits and a number."""

    def _voted(self, tmp_path: Path) -> tuple[Experiment, Driver]:
        experiment = prepared("algorithm.name=tests.support.message_methods:Voting", "training.rounds=3")
        return experiment, drive(experiment, tmp_path)

    def test_server_keeps_its_values(self, tmp_path: Path) -> None:
        experiment, driver = self._voted(tmp_path)
        assert driver.params_sha256() == params_sha256(experiment.initial)
        assert {m["eval/accuracy"] for m in metrics(tmp_path)} == {metrics(tmp_path)[0]["eval/accuracy"]}

    def test_items_are_averaged_by_samples(self, tmp_path: Path) -> None:
        experiment, _ = self._voted(tmp_path)
        clients = cohort(experiment, 2)
        sizes = [len(experiment.partition.train[k]) for k in clients]
        total = sum(sizes)
        state = committed(experiment, tmp_path).server_state
        expected = [
            sum(n for n, k in zip(sizes, clients, strict=True) if k % 2 == 0) / total,
            sum(n for n, k in zip(sizes, clients, strict=True) if k > 2) / total,
            1.0,
        ]
        assert state.votes.tolist() == pytest.approx(expected, rel=1e-12)
        assert float(state.ids) == pytest.approx(
            sum(n * k for n, k in zip(sizes, clients, strict=True)) / total, rel=1e-12
        )

    def test_upload_bytes_are_the_bytes_of_the_items(self, tmp_path: Path) -> None:
        self._voted(tmp_path)
        assert {e["upload_bytes"] for e in events(tmp_path)} == {12 + (16 + 8 + 1) + (16 + 4 + 8)}
        assert {e["download_bytes"] for e in events(tmp_path)} == {HEADERS + 4 * SIZE}
