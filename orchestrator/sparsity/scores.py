"""Exact top-k selection, layer by layer or over all of them: what pruning keeps and what growth adds.

Legend: D = entries of the flat vector, W = maskable ones. Scores are float32 or float64; a NaN ranks below
every number. Every choice is a function of the values alone, whatever the number of threads.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from orchestrator.models.parameters import ParameterLayout


def keep_top(
    layout: ParameterLayout,
    candidates: Tensor,
    score: Tensor,
    counts: Mapping[str, int],
    tie_break: Tensor | None = None,
) -> Tensor:
    """bool[D]: in each maskable segment the `counts[name]` candidates of largest score, or all if fewer.

    `candidates` is bool[D], `score` float[D]. Equal scores: the larger `tie_break` (float[D]) first, then the
    lower index. Entries that no mask covers are True.
    """
    kept = torch.ones_like(candidates)
    for segment in layout.maskable:
        part = segment.slice
        ties = None if tie_break is None else tie_break[part]
        kept[part] = select_top(candidates[part], score[part], counts[segment.name], ties)
    return kept


def grow_top(
    layout: ParameterLayout,
    mask: Tensor,
    score: Tensor,
    counts: Mapping[str, int],
    exclude: Tensor | None = None,
) -> Tensor:
    """bool[D]: `mask`, filled up in each maskable segment to `counts[name]` entries, by largest score.

    `mask` is bool[D], `score` float[D]; `exclude` (bool[D]) bars entries from growing. Equal scores: the
    lower index first. A segment with that many entries or more stays as it is; one with too few free entries
    grows them all.
    """
    free = ~mask if exclude is None else ~(mask | exclude)
    missing = {s.name: counts[s.name] - int(mask[s.slice].count_nonzero()) for s in layout.maskable}
    return mask | keep_top(layout, free, score, missing)


def keep_top_overall(layout: ParameterLayout, score: Tensor, count: int, least: int = 0) -> Tensor:
    """bool[D]: the `count` maskable entries of largest score, all segments ranked together.

    `score` is float[W], in the order of `layout.restrict`. The `least` best entries of each segment (all, if
    it has fewer) come first and count towards `count`. Equal scores: the lower index first. Entries that no
    mask covers are True.
    """
    kept = torch.zeros_like(score, dtype=torch.bool)
    start = 0
    for segment in layout.maskable:
        part = slice(start, start + segment.size)
        kept[part] = select_top(~kept[part], score[part], least)
        start = part.stop
    rest = select_top(~kept, score, count - int(kept.count_nonzero()))
    return layout.expand(kept | rest)


def select_top(candidates: Tensor, score: Tensor, count: int, tie_break: Tensor | None = None) -> Tensor:
    """bool[n]: the `count` candidates (bool[n]) of largest score (float[n]), or all if they are fewer.

    Equal scores: the larger `tie_break` (float[n]) first, then the lower index.
    """
    num_candidates = int(candidates.count_nonzero())
    if count <= 0:
        return torch.zeros_like(candidates)
    if count >= num_candidates:
        return candidates.clone()
    ranked = score.detach()
    if bool(ranked.max().isnan()):
        ranked = ranked.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    eligible = ranked if num_candidates == ranked.numel() else ranked[candidates]
    threshold = eligible.kthvalue(num_candidates - count + 1).values
    kept = candidates & (ranked > threshold)
    tied = (candidates & (ranked == threshold)).nonzero().squeeze(1)
    missing = count - int(kept.count_nonzero())
    if tie_break is not None and missing < tied.numel():
        winners = select_top(torch.ones_like(tied, dtype=torch.bool), tie_break[tied], missing)
        kept[tied[winners]] = True
    else:
        kept[tied[:missing]] = True
    return kept
