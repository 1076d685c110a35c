"""Parts of encoded positions against a search in all positions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.sparsity.gap_coding import encode_gaps
from orchestrator.sparsity.slicing.gap_slices import decode_gap_slice


@given(
    width=st.integers(0, 300) | st.sampled_from([2**16, 2**17 + 3]),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.2, 0.5]),
    is_clustered=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_parts_equal_a_search_in_all_positions(
    width: int, share: float, is_clustered: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    count = min(int(share * width), width // 2)
    population = max(count, width // 3) if is_clustered else width
    indices = np.sort(rng.choice(population, count, replace=False)).astype(np.int64)
    section = encode_gaps(indices, width)
    start, stop = sorted(int(x) for x in rng.integers(0, width + 1, 2))
    num_before, found = decode_gap_slice(section, width, start, stop)
    first, last = np.searchsorted(indices, (start, stop))
    assert num_before == first
    assert found.dtype == np.int64
    assert found.tolist() == indices[first:last].tolist()
