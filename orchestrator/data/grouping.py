"""Sorts rows by group, in random order inside each group; every partition uses this operation.

Legend: N = rows, M = rows that belong to a group, G = groups.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Int64 = NDArray[np.int64]


def group_rows(groups: Int64, num_groups: int, rng: Generator) -> tuple[Int64, Int64]:
    """Return the rows, int64[M], sorted by group and shuffled inside each group, and the group sizes, int64[G].

    `groups` is the group of each row, int64[N]. Rows with group -1 are not returned.
    """
    rows = rng.permutation(len(groups))
    rows = rows[groups[rows] >= 0]
    rows = rows[np.argsort(groups[rows], kind="stable")]
    return rows, np.bincount(groups[rows], minlength=num_groups)


def ranks(sizes: Int64) -> Int64:
    """Return the position of each row inside its group, int64[M], for consecutive groups of these sizes."""
    starts = np.cumsum(sizes) - sizes
    return np.arange(int(sizes.sum())) - np.repeat(starts, sizes)


def even_sizes(total: int, parts: int) -> Int64:
    """Return sizes that add up to `total` and differ by at most one, int64[parts], with larger sizes first."""
    return total // parts + (np.arange(parts) < total % parts)


def cut(shares: NDArray[np.float64], total: int) -> Int64:
    """Return int64 sizes that add up to `total` and follow the shares: cuts lie at the floors of cumulated shares."""
    cumulated = np.cumsum(shares)
    ends = np.floor(cumulated / cumulated[-1] * total).astype(np.int64)
    sizes: Int64 = np.diff(ends, prepend=0)
    return sizes
