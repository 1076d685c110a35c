"""Masks by the positions of their entries."""

from itertools import pairwise

import numpy as np

from orchestrator.sparsity.payload import Bool


def mask_of(width: int, *true: int) -> Bool:
    """bool[width] that is True at these positions."""
    mask = np.zeros(width, np.bool_)
    mask[list(true)] = True
    return mask


def gaps_bytes(mask: Bool) -> int:
    """Bytes of the gaps between the True entries of a mask, entry by entry, as `gap_coding` documents them."""
    indices = [i for i, kept in enumerate(mask.tolist()) if kept]
    count_bytes = min(n for n in range(1, 5) if mask.size < 256**n)
    if not indices:
        return count_bytes
    mean_gap = (mask.size - len(indices)) / len(indices)
    low_bits = max(k for k in range(32) if 2**k <= mean_gap + 0.5)
    bits = sum(low_bits + (b - a - 1) // 2**low_bits + 1 for a, b in pairwise([-1, *indices]))
    return count_bytes + -(-bits // 8)


def changes_bytes(mask: Bool, known: Bool) -> int:
    """Bytes of the difference of a mask from a known mask, as `change_coding` documents them."""
    size_bytes = min(n for n in range(1, 5) if mask.size < 256**n)
    return 4 + size_bytes + gaps_bytes(~mask[known]) + gaps_bytes(mask[~known])
