"""Initial masks. A mask is bool[D] over the flat vector of a `ParameterLayout`, True where none applies."""

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.scores import keep_top


def magnitude_mask(layout: ParameterLayout, values: Tensor, counts: Mapping[str, int]) -> Tensor:
    """bool[D]: in each maskable segment the `counts[name]` entries of largest |value|, ties by lower index.

    `values` is float[D].
    """
    return keep_top(layout, torch.ones_like(values, dtype=torch.bool), values.abs(), counts)


def random_mask(layout: ParameterLayout, counts: Mapping[str, int], rng: np.random.Generator) -> Tensor:
    """bool[D]: in each maskable segment `counts[name]` entries drawn uniformly, without replacement.

    The mask is on the CPU. Raises ValueError for a count above the segment's size.
    """
    mask = layout.full_mask()
    for segment in layout.maskable:
        chosen = np.zeros(segment.size, dtype=np.bool_)
        chosen[rng.choice(segment.size, counts[segment.name], replace=False, shuffle=False)] = True
        mask[segment.slice] = torch.from_numpy(chosen)
    return mask


def initial_mask(
    layout: ParameterLayout,
    values: Tensor,
    counts: Mapping[str, int],
    criterion: Literal["magnitude", "random"],
    rng: np.random.Generator,
) -> Tensor:
    """`magnitude_mask` of the float32[D] start vector, or `random_mask`; bool[D]."""
    if criterion == "magnitude":
        return magnitude_mask(layout, values, counts)
    return random_mask(layout, counts, rng)
