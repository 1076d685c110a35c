"""Masks by the positions of their entries."""

import numpy as np

from orchestrator.sparsity.payload import Bool


def mask_of(width: int, *true: int) -> Bool:
    """bool[width] that is True at these positions."""
    mask = np.zeros(width, np.bool_)
    mask[list(true)] = True
    return mask
