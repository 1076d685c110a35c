"""Counts and places of ones against a list of bits."""

import numpy as np
import pytest

from orchestrator.sparsity.slicing.bit_counts import BitCounts


@pytest.mark.parametrize("num_bytes", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize("density", [0.02, 0.5, 1.0])
def test_counts_and_places_equal_those_of_the_bits(num_bytes: int, density: float) -> None:
    bits = np.random.default_rng(num_bytes).random(8 * num_bytes) < density
    counts = BitCounts(np.packbits(bits, bitorder="little"))
    ends = [0, 1, 7, 8 * num_bytes - 1, 8 * num_bytes, 4 * num_bytes + 3]
    assert [counts.ones_before(end) for end in ends] == [int(bits[:end].sum()) for end in ends]
    places = np.flatnonzero(bits)
    assert [counts.place(number) for number in range(places.size)] == places.tolist()
    assert counts.bits(3, 8 * num_bytes - 2).tolist() == bits[3 : 8 * num_bytes - 2].tolist()


def test_stream_without_bytes_has_no_ones() -> None:
    counts = BitCounts(np.empty(0, np.uint8))
    assert counts.ones_before(0) == 0
    assert counts.bits(0, 0).size == 0
