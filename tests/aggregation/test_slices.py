"""Slices of vectors, layouts, models and items by hand, and averages joined from slices."""

import numpy as np
import pytest
import torch

from orchestrator.aggregation.slices import (
    SliceAverage,
    SliceNumber,
    cut_item,
    cut_model,
    join_averages,
    layout_slice,
)
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.exchange import ModelValues
from orchestrator.models.parameters import ParameterLayout, Segment
from orchestrator.sparsity.payload import Bits, Dense, Masked, Scalar
from orchestrator.sparsity.slicing.payload_slices import VectorSlice
from orchestrator.sparsity.sparse_sum import Entries

#: m m m d d m m
LAYOUT = ParameterLayout(
    (
        Segment("a", (3, 1), 0, "weight", True),
        Segment("b", (2,), 3, "bias", False),
        Segment("c", (1, 2), 5, "weight", True),
    )
)


def test_slices_cover_a_vector_in_order() -> None:
    assert [SliceNumber(s, 3).bounds(7) for s in range(3)] == [(0, 2), (2, 4), (4, 7)]
    assert [SliceNumber(s, 3).bounds(1) for s in range(3)] == [(0, 0), (0, 0), (0, 1)]


@pytest.mark.parametrize(
    ("start", "stop", "segments", "part"),
    [
        (0, 7, [("a", 0, 3), ("b", 3, 2), ("c", 5, 2)], VectorSlice(0, 7, 0, 5)),
        (2, 4, [("a", 0, 1), ("b", 1, 1)], VectorSlice(2, 4, 2, 3)),
        (4, 7, [("b", 0, 1), ("c", 1, 2)], VectorSlice(4, 7, 3, 5)),
        (3, 5, [("b", 0, 2)], VectorSlice(3, 5, 3, 3)),
        (6, 6, [], VectorSlice(6, 6, 4, 4)),
    ],
)
def test_slice_of_a_layout_cuts_segments(
    start: int, stop: int, segments: list[tuple[str, int, int]], part: VectorSlice
) -> None:
    layout, found = layout_slice(LAYOUT, start, stop)
    assert [(s.name, s.offset, s.size) for s in layout.segments] == segments
    assert found == part


def test_models_are_cut_by_entries_and_by_values() -> None:
    index, values = np.array([1, 4, 6]), np.array([1.0, 2.0, 3.0], np.float32)
    by_entries = cut_model(ModelValues.from_entries(Entries(index, values, 7)), 2, 6)
    assert by_entries is not None
    assert by_entries.entries is not None
    assert by_entries.entries.index.tolist() == [2]
    assert by_entries.values.tolist() == [0.0, 0.0, 2.0, 0.0]
    mask = torch.tensor([True, False, True])
    by_values = cut_model(ModelValues(torch.tensor([5.0, 0.0, 7.0]), mask), 1, 3)
    assert by_values is not None
    assert by_values.mask is not None
    assert (by_values.values.tolist(), by_values.mask.tolist()) == ([0.0, 7.0], [False, True])
    assert cut_model(None, 0, 3) is None


def test_items_are_cut_by_their_own_length_and_scalars_stay_whole() -> None:
    own = SliceNumber(1, 2)
    dense = cut_item(Dense("x", np.arange(5, dtype=np.float32)), own)
    assert isinstance(dense, Dense)
    assert dense.values.tolist() == [2.0, 3.0, 4.0]
    bits = cut_item(Bits("x", np.array([True, False, True])), own)
    assert isinstance(bits, Bits)
    assert bits.bits.tolist() == [False, True]
    masked = cut_item(Masked("x", np.ones(2, np.float32), np.array([True, False, False, True])), own)
    assert isinstance(masked, Masked)
    assert (masked.width, masked.indices.tolist(), masked.values.tolist()) == (2, [1], [1.0])
    assert cut_item(Scalar("x", 3.0), own) == Scalar("x", 3.0)


@pytest.mark.parametrize("has_coverage", [True, False])
def test_averages_join_in_order(has_coverage: bool) -> None:
    coverage = torch.tensor([1.0, 0.0, 2.0], dtype=torch.float64) if has_coverage else None
    extras = {"loss": torch.tensor(0.5, dtype=torch.float64), "scores": torch.arange(3.0).double()}
    whole = Aggregate(torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64), coverage, 4.0, extras, 2)
    parts = [
        SliceAverage.of(
            Aggregate(
                whole.values[part],
                None if coverage is None else coverage[part],
                4.0,
                {"loss": extras["loss"], "scores": extras["scores"][part]},
                2,
            )
        )
        for part in (slice(0, 1), slice(1, 3))
    ]
    joined = join_averages([lambda p=p: p for p in parts], 3)  # type: ignore[misc]
    assert joined.values.tolist() == [1.0, 2.0, 3.0]
    assert (joined.coverage is None) == (not has_coverage)
    if joined.coverage is not None:
        assert joined.coverage.tolist() == [1.0, 0.0, 2.0]
    assert (joined.total_weight, joined.num_updates) == (4.0, 2)
    assert joined.extras["loss"].item() == 0.5
    assert joined.extras["scores"].tolist() == [0.0, 1.0, 2.0]
