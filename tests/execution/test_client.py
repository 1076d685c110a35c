"""One client's task: every runner gives the same update, and every failure names its stage."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from orchestrator.errors import WireError
from orchestrator.execution.client import ClientRunner
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.exchange import ModelValues, unpack_model
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientFailure, ClientUpdate, Outcome
from orchestrator.models.parameters import ParameterLayout
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.sparsity.payload import Payload, Scalar
from orchestrator.sparsity.wire import decode, encode
from orchestrator.tracking.record import read_records
from tests.support.fakes import DEVICE
from tests.support.fleets import with_profiles
from tests.support.runs import (
    NOTHING,
    drive,
    fresh,
    initial_state,
    prepared,
)

Buffer = NDArray[np.uint8]


def _task(client_id: int = 2, round_idx: int = 5, position: int = 1) -> ClientTask:
    return ClientTask(round_idx=round_idx, position=position, client_id=client_id)


def _broadcast(experiment: Experiment) -> Broadcast:
    state = initial_state(experiment)
    return Broadcast.of(experiment, state)


def _run(host: ClientRunner, experiment: Experiment, client_id: int = 2) -> Outcome[Any]:
    state = experiment.algorithm.init_client(client_id)
    return host.run(_task(client_id), _broadcast(experiment).message.buffer, NOTHING, state)


def _update(outcome: Outcome[Any]) -> ClientUpdate[Any]:
    assert isinstance(outcome, ClientUpdate), outcome
    return outcome


def _model(layout: ParameterLayout, update: ClientUpdate[Any]) -> ModelValues:
    model = unpack_model(layout, decode(update.buffer))
    assert model is not None
    return model


def _misbehaving(hook: str, kind: str = "raise") -> Experiment:
    return prepared(
        "algorithm.name=tests.support.methods:Misbehaving",
        f"algorithm.hook={hook}",
        f"algorithm.kind={kind}",
        "algorithm.client_id=2",
    )


class TestUpdate:
    """The update that a task returns."""

    def test_update_names_its_task_and_counts_its_cost(self) -> None:
        experiment = prepared("training.local_epochs=2")
        update = _update(_run(ClientRunner(experiment), experiment))
        num_images = len(experiment.partition.train[2])
        macs = 64 * 200 + 200 * 100 + 100 * 10
        assert (update.round_idx, update.position, update.client_id) == (5, 1, 2)
        assert update.num_examples == num_images
        assert update.train_flops == update.train_flops_dense == 2 * num_images * 3 * 2 * macs
        assert update.metrics.keys() == {"loss"}
        assert update.buffer.dtype == np.uint8
        assert update.buffer.nbytes == 36 + 4 * experiment.setting.layout.size

    def test_update_decodes_to_the_trained_model(self) -> None:
        experiment = prepared()
        update = _update(_run(ClientRunner(experiment), experiment))
        model = unpack_model(experiment.setting.layout, decode(update.buffer))
        assert model is not None
        assert model.mask is None
        assert not torch.equal(model.values, torch.from_numpy(experiment.initial))
        assert bool(torch.isfinite(model.values).all())

    def test_received_mask_is_not_uploaded(self) -> None:
        experiment = prepared("algorithm.name=randommask", "sparsity.level=0.9")
        broadcast = _broadcast(experiment)
        update = _update(_run(ClientRunner(experiment), experiment))
        received = broadcast.received_by(broadcast.request(_task(), None))
        assert received is not None
        assert received.mask is not None
        assert update.buffer.nbytes == 36 + 4 * int(received.mask.sum())
        model = unpack_model(
            experiment.setting.layout, decode(update.buffer, known_masks=broadcast.known_masks)
        )
        assert model is not None
        assert model.mask is not None
        assert torch.equal(model.mask, received.mask)
        assert int(model.values[~model.mask].count_nonzero()) == 0
        with pytest.raises(WireError):
            decode(update.buffer)

    def test_masked_training_counts_fewer_flops(self) -> None:
        experiment = prepared(
            "algorithm.name=randommask", "sparsity.level=0.5", "sparsity.allocation=uniform"
        )
        update = _update(_run(ClientRunner(experiment), experiment))
        assert update.train_flops == update.train_flops_dense / 2


class TestCaches:
    """A runner contains only caches."""

    @pytest.mark.parametrize(
        "name", ["fedavg", "feddst", "tests.support.methods:Remembering", "algorithms.fedprox:FedProx"]
    )
    def test_used_runner_gives_the_same_bits_as_a_new_one(self, name: str) -> None:
        experiment = prepared(f"algorithm.name={name}")
        used = ClientRunner(experiment)
        for client_id in (0, 1, 2, 2):
            _update(_run(used, experiment, client_id))
        first, second = _update(_run(used, experiment)), _update(_run(ClientRunner(experiment), experiment))
        assert first.buffer.tobytes() == second.buffer.tobytes()
        assert first.metrics == second.metrics

    def test_new_message_replaces_the_cached_one(self) -> None:
        experiment = prepared()
        host, task = ClientRunner(experiment), _task()
        layout, algorithm = experiment.setting.layout, experiment.algorithm
        outcomes = []
        for scale in (1.0, 0.5, 1.0):
            state = algorithm.init(torch.from_numpy(experiment.initial * np.float32(scale)))
            outcomes.append(
                _update(host.run(task, Broadcast.of(experiment, state).message.buffer, NOTHING, None))
            )
        first, other, again = (_model(layout, u).values for u in outcomes)
        assert torch.equal(first, again)
        assert not torch.equal(first, other)

    def test_task_does_not_change_the_message(self) -> None:
        experiment = prepared()
        buffer = _broadcast(experiment).message.buffer
        before = buffer.tobytes()
        _update(ClientRunner(experiment).run(_task(), buffer, NOTHING, None))
        assert buffer.tobytes() == before

    def test_task_restores_torch_generator(self) -> None:
        experiment = prepared()
        before = torch.get_rng_state()
        _update(_run(ClientRunner(experiment), experiment))
        assert torch.equal(torch.get_rng_state(), before)

    def test_update_does_not_depend_on_torch_s_global_generator(self) -> None:
        experiment = prepared("model.name=tests.support.models:dropout")
        buffers = []
        for _ in range(2):
            torch.rand(3)
            buffers.append(_update(_run(ClientRunner(experiment), experiment)).buffer.tobytes())
        assert buffers[0] == buffers[1]
        other = ClientRunner(experiment).run(
            _task(round_idx=6), _broadcast(experiment).message.buffer, NOTHING, None
        )
        assert _update(other).buffer.tobytes() != buffers[0]

    def test_each_task_seeds_torch_generator(self) -> None:
        sampled = []
        for seed in (0, 1):
            experiment = prepared("algorithm.name=tests.support.methods:Drawing", f"seed={seed}")
            buffer = _broadcast(experiment).message.buffer
            for client_id, round_idx in ((0, 0), (1, 0), (0, 1)):
                task = _task(client_id, round_idx)
                pair = [_update(ClientRunner(experiment).run(task, buffer, NOTHING, {})) for _ in range(2)]
                first, second = (update.client_state["sampled"].tolist() for update in pair)
                assert first == second
                sampled.append(tuple(first))
        assert len(set(sampled)) == len(sampled) == 6

    def test_every_runner_builds_the_same_model(self) -> None:
        """This includes random values of the build that are not parameters, because no message contains them."""
        experiment = prepared("model.name=tests.support.models:shuffled")
        buffers = [_update(_run(ClientRunner(experiment), experiment)).buffer.tobytes() for _ in range(3)]
        assert len(set(buffers)) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="what a machine without CUDA does")
@pytest.mark.parametrize("name", ["feddst", "tests.support.methods:Remembering"])
def test_without_cuda_a_gpu_profile_sends_the_same_update(name: str) -> None:
    experiment = prepared(f"algorithm.name={name}")
    plain, on_gpu = (with_profiles(experiment, [replace(DEVICE, num_gpus=share)]) for share in (0.0, 0.5))
    first, second = (_update(_run(ClientRunner(e), e)).buffer.tobytes() for e in (plain, on_gpu))
    assert first == second


class TestFailure:
    """A failure names client, round, stage and cause."""

    @pytest.mark.parametrize(
        "hook", ["load", "on_train_start", "grad_hook", "on_batch", "on_epoch", "after_train", "pack"]
    )
    def test_failure_names_the_error_of_a_hook(self, hook: str) -> None:
        experiment = _misbehaving(hook)
        failure = _run(ClientRunner(experiment), experiment)
        assert isinstance(failure, ClientFailure)
        assert (failure.client_id, failure.round_idx, failure.position) == (2, 5, 1)
        assert (failure.stage, failure.cause) == ("train", f"ZeroDivisionError: in {hook}")
        assert failure.traceback.startswith("Traceback")
        assert "methods.py" in failure.traceback

    def test_non_finite_parameters_are_not_sent(self) -> None:
        experiment = _misbehaving("after_train", "nan")
        failure = _run(ClientRunner(experiment), experiment)
        assert isinstance(failure, ClientFailure)
        assert failure.stage == "train"
        assert failure.cause.startswith("FloatingPointError:")
        assert "training.lr" in failure.cause

    def test_invalid_payload_fails_at_stage_send(self) -> None:
        experiment = _misbehaving("encode")
        failure = _run(ClientRunner(experiment), experiment)
        assert isinstance(failure, ClientFailure)
        assert failure.stage == "send"
        assert failure.cause.startswith("WireError: two items ")

    @pytest.mark.parametrize(
        ("damage", "cause"),
        [
            (lambda b: b[:-1], "WireError"),
            (lambda b: b[:5], "too few for a message"),
            (lambda b: b ^ np.uint8(1), "not a Sparsefleet message"),
            (lambda b: np.zeros(100, np.uint8), "not a Sparsefleet message"),
            (lambda b: np.concatenate([b[:-1], b[-1:] ^ np.uint8(1)]), "checksum"),
        ],
    )
    def test_garbage_message_fails_at_stage_receive(
        self, damage: Callable[[Buffer], Buffer], cause: str
    ) -> None:
        experiment = prepared()
        buffer = damage(_broadcast(experiment).message.buffer)
        failure = ClientRunner(experiment).run(_task(), buffer, NOTHING, None)
        assert isinstance(failure, ClientFailure)
        assert failure.stage == "receive"
        assert failure.cause.startswith("WireError: ")
        assert cause in failure.cause

    def test_model_of_other_size_fails_at_stage_receive(self) -> None:
        experiment = prepared()
        other = _broadcast(prepared("model.name=tests.support.models:dropout"))
        failure = ClientRunner(experiment).run(_task(), other.message.buffer, NOTHING, None)
        assert isinstance(failure, ClientFailure)
        assert failure.stage == "receive"
        assert f"expected {experiment.setting.layout.size}" in failure.cause

    @pytest.mark.parametrize("payload", [(), (Scalar("loss", 1.0),)])
    def test_training_fails_without_a_received_model(self, payload: Payload) -> None:
        experiment = prepared()
        failure = ClientRunner(experiment).run(
            _task(), np.frombuffer(encode(payload), np.uint8), NOTHING, None
        )
        assert isinstance(failure, ClientFailure)
        assert failure.stage == "train"
        assert failure.cause.startswith("ValueError: ")

    @pytest.mark.parametrize(("hook", "kind"), [("grad_hook", "raise"), ("after_train", "nan")])
    def test_failed_task_does_not_change_the_next_task(self, hook: str, kind: str) -> None:
        experiment = _misbehaving(hook, kind)
        host = ClientRunner(experiment)
        before = _update(_run(host, experiment, 3))
        assert isinstance(_run(host, experiment, 2), ClientFailure)
        host.run(_task(), np.zeros(3, np.uint8), NOTHING, None)
        after = _update(_run(host, experiment, 3))
        assert before.buffer.tobytes() == after.buffer.tobytes()


@pytest.mark.parametrize("method", ["fedavg", "feddst", "heterofl"])
@pytest.mark.parametrize("drop_last", ["false", "true"])
def test_clients_train_whatever_their_number_of_samples(tmp_path: Path, method: str, drop_last: str) -> None:
    """Several clients have a last batch of one sample, which batch norm over single values rejects."""
    experiment = fresh(
        "model.name=tests.support.models:normalised",
        f"algorithm.name={method}",
        f"training.drop_last={drop_last}",
        "training.batch_size=3",
        "training.clients_per_round=6",
        "training.rounds=2",
        "evaluation.finetune_epochs=1",
    )
    assert any(size % 3 == 1 for size in experiment.partition.train.sizes().tolist())
    drive(experiment, tmp_path)
    records = read_records(tmp_path / "metrics.jsonl")
    assert [record.round_idx for record in records] == [0, 1]
    assert records[-1].metrics["eval/accuracy"] > 0.3
