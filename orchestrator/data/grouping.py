"""The one operation behind every split: rows dealt into groups, in random order inside each group.

Legend: N = rows, M = rows that belong to a group, G = groups.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def group_rows(groups: Int64, num_groups: int, rng: Generator) -> tuple[Int64, Int64]:
    """Rows int64[M] sorted by group and shuffled inside each, and the group sizes int64[G].

    `groups` is int64[N]; a row in group -1 belongs to none and is left out.
    """
    rows = rng.permutation(len(groups))
    rows = rows[groups[rows] >= 0]
    rows = rows[np.argsort(groups[rows], kind="stable")]
    return rows, np.bincount(groups[rows], minlength=num_groups)


def ranks(sizes: Int64) -> Int64:
    """int64[M]: the place of each row inside its group, for groups of these sizes one after another."""
    starts = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) - np.repeat(starts, sizes)


def even_sizes(total: int, parts: int) -> Int64:
    """int64[parts]: sizes that add up to `total` and differ by at most one, the larger ones first."""
    return total // parts + (np.arange(parts) < total % parts)


def cut(shares: NDArray[np.float64], total: int) -> Int64:
    """int64 sizes that add up to `total`: contiguous slices at the floors of the cumulated shares."""
    cumulated = np.cumsum(shares)
    ends = np.floor(cumulated / cumulated[-1] * total).astype(np.int64)
    sizes: Int64 = np.diff(ends, prepend=0)
    return sizes
