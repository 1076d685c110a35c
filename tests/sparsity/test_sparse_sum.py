"""Sums by index have the same bits as sums of full vectors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.sparsity.sparse_sum import (
    _BLOCK,
    Entries,
    add_terms,
    add_values,
    add_weight,
    entries_of,
)

#: a count of samples, a fraction of a mean, a staleness discount, the largest number of float32 and the next one
WEIGHTS = (1.0, 100.0, 1 / 3, 100 * 3**-0.5, 2.0**24, 2.0**24 + 1)


def sparse_vectors(seed: int, size: int, density: float) -> list[Entries]:
    """Three sparse vectors with values of very different magnitude, -0 and 0."""
    rng = np.random.default_rng(seed)
    vectors = []
    for _ in range(3):
        index = np.flatnonzero(rng.random(size) < density)
        values = (rng.standard_normal(index.size) * 10.0 ** rng.integers(-30, 30, index.size)).astype(
            np.float32
        )
        values[rng.random(index.size) < 0.2] = -0.0
        vectors.append(Entries(index, values, size))
    return vectors


def as_bits(total: torch.Tensor) -> list[int]:
    """The bits of a float64 vector, which differ for 0 and -0."""
    return total.numpy().view(np.int64).tolist()


@pytest.mark.parametrize("weight", WEIGHTS)
@given(seed=st.integers(0, 2**32), size=st.integers(0, 70), density=st.sampled_from([0.0, 0.05, 0.5, 1.0]))
@settings(max_examples=30)
def test_sum_by_index_has_the_bits_of_the_sum_of_full_vectors(
    weight: float, seed: int, size: int, density: float
) -> None:
    full, sparse = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for entries in sparse_vectors(seed, size, density):
        full.add_(entries.full().to(torch.float64), alpha=weight)
        add_values(sparse, entries.index, entries.values, weight)
    assert as_bits(sparse) == as_bits(full)


@pytest.mark.parametrize("weight", WEIGHTS)
def test_terms_of_several_blocks_are_added_with_one_rounding(weight: float) -> None:
    size = 3 * _BLOCK
    full, sparse = torch.zeros(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
    for entries in sparse_vectors(5, size, 0.6):
        terms = torch.from_numpy(entries.values.astype(np.float64)) / 3
        vector = torch.zeros(size, dtype=torch.float64)
        vector[torch.from_numpy(entries.index)] = terms
        full.add_(vector, alpha=weight)
        add_terms(sparse, entries.index, terms, weight)
    assert as_bits(sparse) == as_bits(full)


def test_weight_is_added_where_the_entries_are() -> None:
    total = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    add_weight(total, np.array([0, 2]), 0.5)
    assert total.tolist() == [1.5, 2.0, 3.5]


def test_entries_are_those_inside_the_mask() -> None:
    values, mask = torch.tensor([5.0, 6.0, 7.0]), torch.tensor([True, False, True])
    entries = entries_of(values, mask)
    assert entries.index.tolist() == [0, 2]
    assert entries.full().tolist() == [5.0, 0.0, 7.0]
    assert entries.mask().tolist() == mask.tolist()
    assert entries.take(torch.tensor([1.0, 2.0, 3.0])).tolist() == [1.0, 3.0]
