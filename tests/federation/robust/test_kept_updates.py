"""Vectors of kept updates, block by block."""

import numpy as np
import pytest

from orchestrator.federation.exchange import MODEL_ITEM
from orchestrator.federation.robust.kept_updates import BLOCK, KeptUpdate, VectorStack, vector_names
from orchestrator.sparsity.payload import Bits, Dense, Masked, Scalar
from tests.support.kept_updates import kept, sent


def test_block_has_values_and_coordinates_of_each_client() -> None:
    updates = kept(sent([1.0, 2.0, 3.0], weight=4.0), sent([5.0, 6.0, 7.0], [1, 0, 1], weight=2.0))
    (block,) = VectorStack(updates, MODEL_ITEM).blocks()
    np.testing.assert_array_equal(block.values, [[1.0, 2.0, 3.0], [5.0, 0.0, 7.0]])
    np.testing.assert_array_equal(block.held, [[True, True, True], [True, False, True]])
    np.testing.assert_array_equal(block.weights, [4.0, 2.0])
    assert block.numbers == [0, 1]


def test_model_is_kept_as_change() -> None:
    full = KeptUpdate.of(sent([1.0, 3.0], start=0.5), as_change=True)
    masked = KeptUpdate.of(sent([1.0, 3.0], [0, 1], start=0.5), as_change=True)
    np.testing.assert_array_equal(full.vectors[MODEL_ITEM].values, [0.5, 2.5])
    np.testing.assert_array_equal(masked.vectors[MODEL_ITEM].values, [2.5])


def test_masked_item_is_zero_outside_its_mask_and_held_by_its_sender() -> None:
    item = Masked("scores", np.array([2.0], np.float32), np.array([False, True, False]))
    (block,) = VectorStack(kept(sent([0.0], items=(item,))), "scores").blocks()
    np.testing.assert_array_equal(block.values, [[0.0, 2.0, 0.0]])
    assert block.held.all()


def test_item_that_some_clients_send_has_their_places() -> None:
    items = (Bits("mask", np.array([True, False])), Scalar("loss", 0.5))
    updates = kept(sent([0.0]), sent([0.0], items=items))
    assert vector_names(updates) == (MODEL_ITEM, "mask", "loss")
    (block,) = VectorStack(updates, "mask").blocks()
    assert block.numbers == [1]
    np.testing.assert_array_equal(block.values, [[1.0, 0.0]])
    assert updates[1].scalars == {"loss": 0.5}


def test_blocks_cover_a_long_vector_once() -> None:
    size = BLOCK + 3
    mask = np.arange(size) % 2
    updates = kept(sent(list(range(size)), list(mask)), sent([1.0] * size))
    blocks = list(VectorStack(updates, MODEL_ITEM).blocks())
    assert [block.start for block in blocks] == [0, BLOCK]
    np.testing.assert_array_equal(np.concatenate([b.held[0] for b in blocks]), mask == 1)
    np.testing.assert_array_equal(np.concatenate([b.values[0] for b in blocks]), np.arange(size) * mask)


def test_vectors_of_different_sizes_are_rejected() -> None:
    updates = kept(
        sent([0.0], items=(Dense("a", np.zeros(2, np.float32)),)),
        sent([0.0], items=(Dense("a", np.zeros(3, np.float32)),)),
    )
    with pytest.raises(ValueError, match=r"item 'a' has the sizes \[2, 3\]"):
        VectorStack(updates, "a")


def test_values_that_do_not_fit_their_mask_are_rejected() -> None:
    item = Masked("scores", np.zeros(2, np.float32), np.array([False, True]))
    with pytest.raises(ValueError, match="2 values do not fit its mask"):
        kept(sent([0.0], items=(item,)))
