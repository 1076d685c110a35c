"""Bitmaps against a bit-by-bit oracle, and the choice between the codings."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sparsity.mask_coding import encode_bitmap, encode_mask
from orchestrator.sparsity.payload import Bool, Masked
from orchestrator.sparsity.wire_frame import MaskCoding
from tests.support.masks import mask_of


@pytest.mark.parametrize(
    ("mask", "coding", "num_bytes"),
    [
        (mask_of(240), "gaps", 1),  # no entries: the count alone
        (mask_of(240, 7, 8), "gaps", 1 + 2),  # 2 entries, k = 6: 14 bits
        # 60 entries, k = 1, gaps of 0 and 3: 60 + 60 + 59 bits
        (np.arange(240) % 4 == 0, "gaps", 1 + 23),
        # 80 entries, gaps of 0 and 2: 80 + 80 + 79 bits would be 1 + 30 bytes
        (np.arange(240) % 3 == 0, "bitmap", 30),
        (np.arange(240) < 81, "bitmap", 30),  # more than a third
        (np.arange(240) < 159, "bitmap", 30),
        (~mask_of(240, 7, 8), "false_gaps", 1 + 2),
        (mask_of(9, 3), "bitmap", 2),  # gaps would have 1 + 1 bytes
        (np.ones(240, np.bool_), "full", 0),
        (np.ones(0, np.bool_), "full", 0),
    ],
)
def test_shortest_coding_is_chosen(mask: Bool, coding: MaskCoding, num_bytes: int) -> None:
    found, extra, section = encode_mask(Masked("m", np.zeros(240, np.float32), mask), None)
    assert (found, section.size) == (coding, num_bytes)
    assert extra == (num_bytes if coding in ("gaps", "false_gaps") else 0)


@given(st.lists(st.booleans(), max_size=40))
def test_bitmap_puts_the_first_entry_in_the_lowest_bit(bits: list[bool]) -> None:
    number = sum(1 << i for i, bit in enumerate(bits) if bit)
    assert encode_bitmap(np.array(bits, np.bool_)).tobytes() == number.to_bytes(
        (len(bits) + 7) // 8, "little"
    )
