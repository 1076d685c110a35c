"""Chooses the weights with the largest summed gain per summed cost (PruneFL).

Sums are float64, in a fixed order, so that a choice does not depend on the number of threads.
"""

from collections.abc import Mapping
from math import floor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orchestrator.method import (
    Bool,
    ParameterLayout,
    exact_share,
    keep_top,
)

Float64 = NDArray[np.float64]


def adjust_mask(
    layout: ParameterLayout,
    mask: Tensor,
    values: Tensor,
    gain: Tensor,
    cost: Mapping[str, float],
    *,
    share: float,
    base_cost: float,
    max_density: float,
) -> Tensor:
    """bool[D]: the mask after PruneFL's adjustment, which prunes and grows in one choice.

    Of the n active entries of each maskable segment the floor(share n) of least |value| are candidates,
    as are all inactive entries of `mask` (bool[D]); the others stay. `best_ratio` chooses, with
    `gain` (float[T] >= 0) for each trained entry, what no mask covers being kept anyway, `cost[name]` > 0 for an
    entry of that segment and `base_cost` > 0 for what comes at any mask. `max_density` (share of the maskable
    entries) limits what is chosen, not what stays. `values` is float[D]; equal sizes: the higher index stands.
    """
    exact = exact_share(share)
    counts = {name: n - floor(exact * n) for name, n in layout.active(mask).items()}
    kept = layout.restrict(keep_top(layout, mask, values.abs(), counts)).numpy()
    gains = torch.zeros(layout.size, dtype=torch.float64)
    gains[: layout.num_trainable] = gain
    if not layout.num_maskable:
        return layout.full_mask()
    chosen = best_ratio(
        kept,
        ~kept,
        layout.restrict(gains).numpy(),
        np.concatenate([np.full(s.size, cost[s.name]) for s in layout.maskable]),
        base_gain=sum(float(np.sum(gains[s.slice].numpy())) for s in layout.segments if not s.maskable),
        base_cost=base_cost,
        max_kept=floor(max_density * layout.num_maskable + 1e-6),
    )
    return layout.expand(torch.from_numpy(chosen))


def best_ratio(
    kept: Bool,
    candidates: Bool,
    gain: Float64,
    cost: Float64,
    *,
    base_gain: float,
    base_cost: float,
    max_kept: int,
) -> Bool:
    """bool[W]: `kept` and those candidates that make (base_gain + sum gain) / (base_cost + sum cost) largest.

    Candidates are taken by falling gain / cost for as long as that is above the ratio so far, which is optimal.
    `kept` and `candidates` are bool[W] and disjoint; `gain` >= 0 and `cost` > 0 are float64[W], `base_cost`
    is above 0. No more than `max_kept` entries come out, unless more are kept in any case. Equal ratios: the
    lower index first; an entry that would leave the ratio as it is stays out.
    """
    order = np.flatnonzero(candidates)
    order = order[np.argsort(-gain[order] / cost[order], kind="stable")]
    order = order[: max(0, max_kept - int(kept.sum()))]
    gains = np.cumsum(np.append(base_gain + np.sum(gain[kept]), gain[order]))[:-1]
    costs = np.cumsum(np.append(base_cost + np.sum(cost[kept]), cost[order]))[:-1]
    worse = np.flatnonzero(gain[order] * costs <= gains * cost[order])
    chosen = kept.copy()
    chosen[order[: worse[0] if worse.size else order.size]] = True
    return chosen
