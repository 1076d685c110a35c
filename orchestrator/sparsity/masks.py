"""Creates, prunes and compares masks.

A mask is bool[D] over the flat vector of a `ParameterLayout`. Entries that are not maskable are True.
"""

from collections.abc import Mapping
from hashlib import blake2b
from math import ceil
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import ConfigError
from orchestrator.formatting import counted
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.exact import exact_share
from orchestrator.sparsity.scores import keep_top


def magnitude_mask(layout: ParameterLayout, values: Tensor, counts: Mapping[str, int]) -> Tensor:
    """Return a mask, bool[D], of the `counts[name]` entries of largest |value| in each maskable segment.

    `values` is float[D]. Of entries with equal |value|, the entry with the lower index comes first.
    """
    return keep_top(layout, torch.ones_like(values, dtype=torch.bool), values.abs(), counts)


def random_mask(layout: ParameterLayout, counts: Mapping[str, int], rng: np.random.Generator) -> Tensor:
    """Return a mask, bool[D], of `counts[name]` uniformly random entries in each maskable segment.

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
    """Return `magnitude_mask` of the initial vector `values`, float32[D], or `random_mask`, by `criterion`."""
    if criterion == "magnitude":
        return magnitude_mask(layout, values, counts)
    return random_mask(layout, counts, rng)


def prune_share(layout: ParameterLayout, mask: Tensor, values: Tensor, share: float) -> Tensor:
    """Remove the `share` of active entries with the smallest |value| from each maskable segment of a mask, bool[D].

    Of n active entries, ceil(share (n - 1)) are removed, so that a segment keeps at least one entry. When no two
    |value| are equal, these are the entries below the percentile of `share`, with linear interpolation. `values` is
    float[D], `share` is in [0, 1]. Of entries with equal |value|, the entry with the higher index is removed first.
    """
    exact = exact_share(share)
    counts = {name: n - max(0, ceil(exact * (n - 1))) for name, n in layout.active(mask).items()}
    return keep_top(layout, mask, values.abs(), counts)


def mask_distance(layout: ParameterLayout, left: Tensor, right: Tensor) -> float:
    """Return the mean over maskable segments of the share of entries in which two bool[D] masks differ."""
    shares = [float((left[s.slice] != right[s.slice]).sum()) / s.size for s in layout.maskable if s.size]
    return sum(shares) / max(1, len(shares))


def reject_empty_layers(layout: ParameterLayout, mask: Tensor, density: float) -> None:
    """Raise ConfigError when a mask, bool[D], of this density keeps none of a layer's weights."""
    active = layout.active(mask)
    for segment in layout.maskable:
        if segment.size and not active[segment.name]:
            problem = f"the mask keeps none of the {counted(segment.size, 'weight')} of layer {segment.name}"
            raise ConfigError(
                "sparsity.level",
                round(1.0 - density, 12),
                f"{problem}, which disconnects the network",
                "lower it",
            )


def mask_digest(mask: Tensor) -> str:
    """Return a short hash of a bool[D] mask, by which the server knows the mask that each client has."""
    return blake2b(np.packbits(mask.numpy()).tobytes(), digest_size=16).hexdigest()
