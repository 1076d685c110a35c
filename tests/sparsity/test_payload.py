"""A masked item has a mask or positions, and computes the other form."""

import numpy as np

from orchestrator.sparsity.payload import Dense, Masked, with_values
from tests.support.masks import mask_of

VALUES = np.array([1.0, 2.0], np.float32)


def test_item_with_positions_computes_its_mask() -> None:
    item = Masked.from_indices("m", VALUES, np.array([1, 4]), 6)
    assert (item.width, item.num_kept) == (6, 2)
    assert item.mask.tolist() == mask_of(6, 1, 4).tolist()
    assert item.mask is item.mask
    assert not item.mask.flags.writeable


def test_item_with_a_mask_computes_its_positions() -> None:
    item = Masked("m", VALUES, mask_of(6, 1, 4))
    assert (item.width, item.num_kept) == (6, 2)
    assert item.indices.tolist() == [1, 4]


def test_values_are_replaced() -> None:
    others = np.array([3.0, 4.0], np.float32)
    masked, dense = (
        with_values(Masked("m", VALUES, mask_of(6, 1, 4)), others),
        with_values(Dense("d", VALUES), others),
    )
    assert isinstance(masked, Masked)
    assert (masked.name, masked.mask.tolist()) == ("m", mask_of(6, 1, 4).tolist())
    assert isinstance(dense, Dense)
    assert masked.values is dense.values is others
