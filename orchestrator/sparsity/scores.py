"""Exact top-k selection for pruning and growing, in each layer or over all layers.

Legend: D = entries of the flat vector, W = maskable entries.

Scores are float32 or float64. A NaN ranks below every number. The selection depends only on the values, not on the
number of threads.
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
    """Return bool[D], True for the `counts[name]` candidates of largest score in each maskable segment.

    All candidates of a segment are True when there are fewer. `candidates` is bool[D], `score` is float[D]. Of entries
    with equal scores, the entry with the larger `tie_break` (float[D]) comes first, then the lower index. Entries that
    are not maskable are True.
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
    """Return `mask` with more entries of largest score, so that each maskable segment has `counts[name]` entries.

    `mask` is bool[D], `score` is float[D]. Entries of `exclude` (bool[D]) do not grow. Of entries with equal scores,
    the entry with the lower index comes first. A segment with enough entries does not change. A segment with too few
    free entries grows all of them.
    """
    free = ~mask if exclude is None else ~(mask | exclude)
    missing = {s.name: counts[s.name] - int(mask[s.slice].count_nonzero()) for s in layout.maskable}
    return mask | keep_top(layout, free, score, missing)


def keep_top_overall(layout: ParameterLayout, score: Tensor, count: int, least: int = 0) -> Tensor:
    """Return bool[D], True for the `count` maskable entries of largest score over all segments.

    `score` is float[W], in the order of `layout.restrict`. The `least` best entries of each segment are kept first, or
    all entries of a smaller segment. They count towards `count`. Of entries with equal scores, the entry with the lower
    index comes first. Entries that are not maskable are True.
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
    """Return bool[n], True for the `count` candidates (bool[n]) of largest score (float[n]), or all if there are fewer.

    Of entries with equal scores, the entry with the larger `tie_break` (float[n]) comes first, then the lower index.
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
