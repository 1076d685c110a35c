"""Flat vectors become payload items, and items become flat vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from orchestrator.errors import WireError
from orchestrator.federation.exchange import (
    MODEL_ITEM,
    ModelValues,
    find_bits,
    find_model,
    find_values,
    known_masks,
    pack_model,
    unpack_model,
    without_model,
)
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Bits, Dense, Masked, Payload, Scalar
from orchestrator.sparsity.sparse_sum import Entries
from orchestrator.sparsity.wire import decode, encode

#: conv 2*1*2*2 = 8 weights and 2 biases, batch norm 2 + 2 and two running statistics of 2, linear 6 and 3
LAYOUT = ParameterLayout.of(
    nn.Sequential(nn.Conv2d(1, 2, 2), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))
)
D, W = 27, 14


def test_layout_has_the_sizes_that_the_tests_use() -> None:
    assert (LAYOUT.size, LAYOUT.num_maskable) == (D, W)


@given(st.lists(st.booleans(), min_size=W, max_size=W), st.integers(0, 2**32))
@settings(max_examples=50)
def test_masked_model_survives_the_wire_exactly(bits: list[bool], seed: int) -> None:
    mask = LAYOUT.expand(torch.tensor(bits))
    values = torch.from_numpy(np.random.default_rng(seed).standard_normal(D).astype(np.float32))
    item = pack_model(LAYOUT, values, mask)
    assert isinstance(item, Masked)
    assert (item.name, item.values.size, item.mask.tolist()) == (MODEL_ITEM, sum(bits) + D - W, bits)
    model = unpack_model(LAYOUT, decode(encode((item,))))
    assert model is not None
    assert model.mask is not None
    assert torch.equal(model.mask, mask)
    assert torch.equal(model.values, values * mask)


def test_dense_model_survives_the_wire_exactly() -> None:
    values = torch.arange(D, dtype=torch.float32) - 13
    item = pack_model(LAYOUT, values, None)
    assert isinstance(item, Dense)
    model = unpack_model(LAYOUT, decode(encode((item,))))
    assert model is not None
    assert model.mask is None
    assert torch.equal(model.values, values)


def test_masked_values_have_the_order_of_the_vector() -> None:
    """Entries 1 and 6 are convolution weights, then entry 2 of the linear weights.

    13 entries that are not maskable follow.
    """
    bits = torch.zeros(W, dtype=torch.bool)
    bits[[1, 6, 8 + 2]] = True
    item = pack_model(LAYOUT, torch.arange(D, dtype=torch.float32), LAYOUT.expand(bits))
    names = [s.name for s in LAYOUT.segments]
    assert names[:2] == ["0.weight", "0.bias"]
    linear = next(s for s in LAYOUT.segments if s.name == "3.weight").offset
    dense = [i for s in LAYOUT.segments if not s.maskable for i in range(s.offset, s.offset + s.size)]
    assert item.values.tolist() == sorted([1, 6, linear + 2, *dense])


def test_unpacked_model_owns_its_memory() -> None:
    """Decoded arrays are read-only views of a shared buffer. The model is a copy."""
    buffer = np.frombuffer(encode((pack_model(LAYOUT, torch.ones(D), None),)), dtype=np.uint8)
    kept = buffer.copy()
    model = unpack_model(LAYOUT, decode(buffer))
    assert model is not None
    model.values.zero_()
    assert np.array_equal(buffer, kept)


def test_model_is_found_among_other_items() -> None:
    model = Dense(MODEL_ITEM, np.zeros(D, np.float32))
    others = (Scalar("loss", 1.0), Bits("votes", np.zeros(3, np.bool_)))
    assert find_model((*others, model)) is model
    assert without_model((others[0], model, others[1])) == others


@pytest.mark.parametrize("payload", [(), (Scalar("loss", 1.0),), (Bits(MODEL_ITEM, np.zeros(W, np.bool_)),)])
def test_payload_may_have_no_model(payload: Payload) -> None:
    assert find_model(payload) is None
    assert unpack_model(LAYOUT, payload) is None


def test_bits_and_values_are_found_by_name_and_kind() -> None:
    votes, scores = np.array([True, False]), np.array([1.5, -2.0], np.float32)
    payload = (Scalar("loss", 1.0), Bits("votes", votes), Dense("scores", scores))
    assert find_bits(payload, "votes") is votes
    assert find_values(payload, "scores") is scores
    with pytest.raises(WireError, match="no bits 'scores'"):
        find_bits(payload, "scores")
    with pytest.raises(WireError, match="no values 'votes'"):
        find_values(payload, "votes")


def test_known_mask_is_that_of_the_model() -> None:
    bits = torch.zeros(W, dtype=torch.bool)
    bits[[2, 13]] = True
    known = known_masks(LAYOUT, LAYOUT.expand(bits))
    assert known.keys() == {MODEL_ITEM}
    assert known[MODEL_ITEM].tolist() == bits.tolist()
    assert known_masks(LAYOUT, None) == {}


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ((Dense(MODEL_ITEM, np.zeros(D - 1, np.float32)),), "26 values, expected 27"),
        (
            (Masked(MODEL_ITEM, np.zeros(20, np.float32), np.zeros(W + 1, np.bool_)),),
            "15 mask bits, expected 14",
        ),
        (
            (Masked(MODEL_ITEM, np.zeros(20, np.float32), np.zeros(W, np.bool_)),),
            "20 values, expected 13",
        ),
    ],
)
def test_payload_of_another_size_is_rejected(payload: tuple[Dense | Masked, ...], message: str) -> None:
    with pytest.raises(WireError, match=message):
        unpack_model(LAYOUT, payload)


class TestModelByIndex:
    """A decoded masked model is stored by index until its full tensors are read."""

    def _model(self) -> ModelValues:
        return ModelValues.from_entries(Entries(np.array([1, 3]), np.array([5.0, -2.0], np.float32), 4))

    def test_full_tensors_have_the_entries(self) -> None:
        model = self._model()
        assert (model.size, model.entries is None) == (4, False)
        assert model.values.tolist() == [0.0, 5.0, 0.0, -2.0]
        assert model.mask is not None
        assert model.mask.tolist() == [False, True, False, True]
        assert model.size == 4

    @pytest.mark.parametrize("name", ["values", "mask"])
    def test_reader_may_change_the_full_tensors(self, name: str) -> None:
        """The changed tensors count, not the entries from which they were computed."""
        model = self._model()
        getattr(model, name)[1] = 0
        assert model.entries is None
        assert not getattr(model, name)[1]

    def test_unpacked_model_has_entries(self) -> None:
        bits = torch.zeros(W, dtype=torch.bool)
        bits[[0, 9]] = True
        mask = LAYOUT.expand(bits)
        item = pack_model(LAYOUT, torch.arange(D, dtype=torch.float32), mask)
        model = unpack_model(LAYOUT, decode(encode((item,))))
        assert model is not None
        assert model.entries is not None
        assert model.entries.index.tolist() == torch.nonzero(mask)[:, 0].tolist()
        assert model.entries.values.tolist() == model.entries.index.tolist()
