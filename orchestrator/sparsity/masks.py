"""Initial masks, and masks pruned further.

A mask is bool[D] over the flat vector of a `ParameterLayout`, True where none applies.
"""

from collections.abc import Mapping
from hashlib import blake2b
from math import ceil
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.exact import exact_share
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


def prune_share(layout: ParameterLayout, mask: Tensor, values: Tensor, share: float) -> Tensor:
    """bool[D]: `mask` (bool[D]) without the `share` of each maskable segment's active entries of least |value|.

    Of n active entries ceil(share (n - 1)) go: those below the share's percentile, interpolated linearly, if
    no two are equal in size. So a segment keeps one entry at least. `values` is float[D], `share` in [0, 1];
    equal sizes: the higher index goes first.
    """
    exact = exact_share(share)
    counts = {name: n - max(0, ceil(exact * (n - 1))) for name, n in layout.active(mask).items()}
    return keep_top(layout, mask, values.abs(), counts)


def mask_distance(layout: ParameterLayout, left: Tensor, right: Tensor) -> float:
    """Share of entries in which two bool[D] masks differ, by segment, then the mean over maskable segments."""
    shares = [float((left[s.slice] != right[s.slice]).sum()) / s.size for s in layout.maskable if s.size]
    return sum(shares) / max(1, len(shares))


def reject_empty_layers(layout: ParameterLayout, mask: Tensor, density: float) -> None:
    """Raise ConfigError for a bool[D] mask of this density that leaves a layer without weights."""
    active = layout.active(mask)
    for segment in layout.maskable:
        if segment.size and not active[segment.name]:
            problem = f"the mask keeps none of the {segment.size} weights of layer {segment.name}"
            raise ConfigError(
                "sparsity.level", round(1.0 - density, 12), f"{problem}, which cuts the network", "lower it"
            )


def mask_digest(mask: Tensor) -> str:
    """A short stable name for a bool[D] mask, by which the server knows who holds it."""
    return blake2b(np.packbits(mask.numpy()).tobytes(), digest_size=16).hexdigest()
