"""Bytes of a round's messages, compared with the closed forms of the wire format."""

import numpy as np
import pytest
import torch

from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.experiment import Experiment
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import unpack_model
from orchestrator.federation.plan import ClientTask
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.sparsity.masks import mask_digest
from orchestrator.sparsity.wire import decode
from tests.support.runs import prepared

#: the perceptron on 8x8 images: 64-200-100-10
WEIGHTS = 64 * 200 + 200 * 100 + 100 * 10
BIASES = 200 + 100 + 10
#: message header, item header, and the name `theta` padded to 8 bytes
HEADERS = 12 + 16 + 8
BITMAP = -(-WEIGHTS // 8)


def _masked(experiment: Experiment, num_kept: int, *, first: int = 0, step: int = 1) -> ServerState:
    """The initial model under a mask that keeps every `step`-th weight from `first` on, and all biases."""
    bits = torch.zeros(WEIGHTS, dtype=torch.bool)
    bits[first : first + num_kept * step : step] = True
    mask = experiment.setting.layout.expand(bits)
    assert int(mask.sum()) == num_kept + BIASES
    return ServerState(params=torch.from_numpy(experiment.initial) * mask, mask=mask)


def _dense(experiment: Experiment) -> ServerState:
    return ServerState(params=torch.from_numpy(experiment.initial.copy()))


#: a task whose client gets no unicast
REQUEST = TaskRequest(ClientTask(round_idx=0, position=0, client_id=0), None)


@pytest.mark.parametrize(("dtype", "value_bytes"), [("float32", 4), ("float16", 2)])
class TestDownloadBytes:
    """A client is billed only for data that it does not already have."""

    def test_dense_model_costs_the_same_for_every_client(self, dtype: str, value_bytes: int) -> None:
        experiment = prepared(f"wire.value_dtype={dtype}")
        broadcast = Broadcast.of(experiment, _dense(experiment))
        expected = HEADERS + value_bytes * (WEIGHTS + BIASES)
        assert broadcast.message.buffer.nbytes == expected
        assert broadcast.mask_digest is None
        assert [broadcast.download_bytes(REQUEST, shared_mask) for shared_mask in (None, "another")] == [
            expected,
            expected,
        ]

    def test_mask_is_billed_only_to_clients_without_it(self, dtype: str, value_bytes: int) -> None:
        experiment = prepared(f"wire.value_dtype={dtype}")
        broadcast = Broadcast.of(experiment, _masked(experiment, WEIGHTS // 2, step=2))
        values = HEADERS + value_bytes * (WEIGHTS // 2 + BIASES)
        assert broadcast.download_bytes(REQUEST, None) == broadcast.message.buffer.nbytes == values + BITMAP
        assert broadcast.download_bytes(REQUEST, "another") == values + BITMAP
        assert broadcast.download_bytes(REQUEST, broadcast.mask_digest) == values

    def test_very_sparse_mask_is_billed_as_gaps(self, dtype: str, value_bytes: int) -> None:
        """40 of 33,800 weights have a mean gap of 844, so that a gap below 512 has 9 low bits and one further bit."""
        experiment = prepared(f"wire.value_dtype={dtype}")
        broadcast = Broadcast.of(experiment, _masked(experiment, 40, first=300, step=500))
        section = 2 + 40 * (9 + 1) // 8
        values = HEADERS + value_bytes * (40 + BIASES)
        assert broadcast.download_bytes(REQUEST, None) == values + section
        assert broadcast.download_bytes(REQUEST, broadcast.mask_digest) == values

    def test_full_mask_is_not_billed(self, dtype: str, value_bytes: int) -> None:
        experiment = prepared(f"wire.value_dtype={dtype}")
        broadcast = Broadcast.of(experiment, _masked(experiment, WEIGHTS))
        expected = HEADERS + value_bytes * (WEIGHTS + BIASES)
        assert {broadcast.download_bytes(REQUEST, h) for h in (None, broadcast.mask_digest)} == {expected}


def test_mask_digest_identifies_the_mask() -> None:
    experiment = prepared()
    first = Broadcast.of(experiment, _masked(experiment, 100))
    again = Broadcast.of(experiment, _masked(experiment, 100))
    other = Broadcast.of(experiment, _masked(experiment, 100, first=1))
    assert first.mask_digest == again.mask_digest != other.mask_digest
    mask = _masked(experiment, 100).mask
    assert mask is not None
    assert first.mask_digest == mask_digest(experiment.setting.layout.restrict(mask))


def test_server_and_clients_decode_the_same_values() -> None:
    experiment = prepared("wire.value_dtype=float16")
    state = _masked(experiment, 1000, step=3)
    broadcast = Broadcast.of(experiment, state)
    model = unpack_model(experiment.setting.layout, decode(broadcast.message.buffer))
    assert model is not None
    received = broadcast.received_by(REQUEST)
    assert received is not None
    assert torch.equal(model.values, received.values)
    assert state.mask is not None
    assert model.mask is not None
    assert torch.equal(model.mask, state.mask)
    rounded = state.params.numpy().astype(np.float16).astype(np.float32)
    assert np.array_equal(received.values.numpy(), rounded)
    assert not torch.equal(received.values, state.params)


def test_float32_changes_no_bit() -> None:
    experiment = prepared()
    state = _dense(experiment)
    received = Broadcast.of(experiment, state).received_by(REQUEST)
    assert received is not None
    assert torch.equal(received.values, state.params)


def test_shared_mask_covers_the_maskable_entries() -> None:
    experiment = prepared()
    state = _masked(experiment, 7, first=5, step=11)
    known = Broadcast.of(experiment, state).known_masks["theta"]
    assert np.flatnonzero(known).tolist() == list(range(5, 5 + 77, 11))
    assert known.size == WEIGHTS
    assert Broadcast.of(experiment, _dense(experiment)).known_masks == {}
