"""PruneFL's choice of weights, compared with every other choice."""

from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from algorithms._prunefl_gain_per_cost import Float64, adjust_mask, best_ratio
from orchestrator.models.parameters import ParameterLayout

# weights 0-5, biases 6-7, weights 8-11, biases 12-13
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)))


def ratio(chosen: set[int], gain: Float64, cost: Float64, base_gain: float, base_cost: float) -> float:
    members = sorted(chosen)
    return float((base_gain + gain[members].sum()) / (base_cost + cost[members].sum()))


def subsets(candidates: list[int], most: int) -> list[set[int]]:
    return [set(c) for n in range(min(most, len(candidates)) + 1) for c in combinations(candidates, n)]


@pytest.mark.parametrize("seed", range(300))
def test_no_other_set_has_a_larger_ratio(seed: int) -> None:
    """Up to 9 entries, each kept or a candidate. Gains and costs differ by several orders of magnitude."""
    rng = np.random.default_rng(seed)
    size = int(rng.integers(1, 10))
    kept = rng.random(size) < 0.3
    gain, cost = 10.0 ** rng.uniform(-3, 3, size), 10.0 ** rng.uniform(-1, 1, size)
    gain[rng.random(size) < 0.1] = 0.0
    base_gain, base_cost = float(10 ** rng.uniform(-2, 2)), float(10 ** rng.uniform(-2, 2))
    chosen = best_ratio(kept, ~kept, gain, cost, base_gain=base_gain, base_cost=base_cost, max_kept=size)
    held = set(np.flatnonzero(kept).tolist())
    found = ratio(set(np.flatnonzero(chosen).tolist()), gain, cost, base_gain, base_cost)
    others = [held | s for s in subsets(np.flatnonzero(~kept).tolist(), size)]
    assert held <= set(np.flatnonzero(chosen).tolist())
    assert found == pytest.approx(max(ratio(s, gain, cost, base_gain, base_cost) for s in others), rel=1e-12)


def test_choice_among_twelve_weights_of_three_layers() -> None:
    """One cost for each layer, as in the method, and all 2^9 sets of candidates."""
    rng = np.random.default_rng(3)
    cost = np.repeat([1.0, 4.0, 0.5], 4)
    kept = np.zeros(12, np.bool_)
    kept[[1, 6, 11]] = True
    for _ in range(20):
        gain = rng.exponential(size=12)
        chosen = best_ratio(kept, ~kept, gain, cost, base_gain=0.5, base_cost=2.0, max_kept=12)
        sets = [{1, 6, 11} | s for s in subsets(np.flatnonzero(~kept).tolist(), 9)]
        best = max(sets, key=lambda s: ratio(s, gain, cost, 0.5, 2.0))
        assert set(np.flatnonzero(chosen).tolist()) == best


def test_choice_at_equal_costs_is_a_threshold_on_the_gain() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        gain, kept = rng.exponential(size=40), rng.random(40) < 0.2
        chosen = best_ratio(kept, ~kept, gain, np.full(40, 0.7), base_gain=1.0, base_cost=5.0, max_kept=40)
        came_in, stayed_out = gain[chosen & ~kept], gain[~chosen]
        assert came_in.size
        assert stayed_out.size
        assert came_in.min() > stayed_out.max()


def test_choice_by_hand() -> None:
    """The kept weight has gain 4 and cost 2, and the base has gain 0 and cost 2: ratio 1.

    The other gains per cost are .5, 3 and 2: (4 + 6) / 6, then (10 + 2) / 7 = 1.71.
    """
    gain, cost = np.array([4.0, 0.5, 6.0, 2.0]), np.array([2.0, 1.0, 2.0, 1.0])
    kept = np.array([True, False, False, False])

    def choice(max_kept: int) -> list[bool]:
        found: list[bool] = best_ratio(
            kept, ~kept, gain, cost, base_gain=0.0, base_cost=2.0, max_kept=max_kept
        ).tolist()
        return found

    assert choice(4) == [True, False, True, True]
    assert choice(2) == [True, False, True, False]
    assert choice(1) == choice(0) == [True, False, False, False]


def test_entry_without_effect_on_the_ratio_is_left_out_and_ties_go_to_the_lower_index() -> None:
    none = np.zeros(3, np.bool_)
    ones = np.ones(3)
    assert not best_ratio(none, ~none, ones, ones, base_gain=1.0, base_cost=1.0, max_kept=3).any()
    assert best_ratio(none, ~none, ones, ones, base_gain=0.5, base_cost=1.0, max_kept=2).tolist() == [
        True,
        True,
        False,
    ]
    assert not best_ratio(none, ~none, 0 * ones, ones, base_gain=0.0, base_cost=1.0, max_kept=3).any()


def adjust(
    values: Tensor, mask: Tensor, gain: Tensor, *, share: float, max_density: float = 1.0
) -> list[int]:
    """Maskable entries after an adjustment with costs 1 and 2 a weight, and a base cost of 1."""
    before = [t.clone() for t in (values, mask, gain)]
    after = adjust_mask(
        LAYOUT,
        mask,
        values,
        gain,
        {"0.weight": 1.0, "1.weight": 2.0},
        share=share,
        base_cost=1.0,
        max_density=max_density,
    )
    assert all(torch.equal(t, b) for t, b in zip((values, mask, gain), before, strict=True))
    assert bool(after[[6, 7, 12, 13]].all())
    return [i for i in [*range(6), *range(8, 12)] if bool(after[i])]


def example() -> tuple[Tensor, Tensor, Tensor]:
    """Active weights: 0-3 with 0 and 1 small, and 8-11 with 8 and 9 small. 4 and 5 are masked."""
    values, mask, gain = torch.zeros(14), LAYOUT.full_mask(), torch.zeros(14)
    values[[0, 1, 2, 3]] = torch.tensor([0.1, -0.2, 3.0, -4.0])
    values[[8, 9, 10, 11]] = torch.tensor([0.1, -0.2, 3.0, -4.0])
    mask[[4, 5]] = False
    gain[[2, 3, 10, 11]] = 1.0
    return values, mask, gain


def test_smallest_weights_of_each_layer_are_candidates() -> None:
    """Candidates without gains are removed: half of the active weights of each layer."""
    values, mask, gain = example()
    assert adjust(values, mask, gain, share=0.5) == [2, 3, 10, 11]
    assert adjust(values, mask, gain, share=0.25) == [1, 2, 3, 9, 10, 11]
    assert adjust(values, mask, gain, share=0.24) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_active_and_masked_candidates_may_be_chosen() -> None:
    """Kept: gain 4 over cost 1 + 2 + 4, which is .57.

    Entry 1 has .9 per cost, 5 has .8, and 9 has 1 / 2 against .7 then.
    """
    values, mask, gain = example()
    gain[[1, 5, 9]] = torch.tensor([0.9, 0.8, 1.0])
    assert adjust(values, mask, gain, share=0.5) == [1, 2, 3, 5, 10, 11]


def test_unmaskable_entries_count_as_kept() -> None:
    """With 10 on a bias the ratio is 14 / 7 = 2. A gain of 1.9 is not worth its cost."""
    values, mask, gain = example()
    gain[1] = 1.9
    assert adjust(values, mask, gain, share=0.5) == [1, 2, 3, 10, 11]
    gain[6] = 10.0
    assert adjust(values, mask, gain, share=0.5) == [2, 3, 10, 11]


@pytest.mark.parametrize("seed", range(20))
def test_share_of_zero_keeps_all_active_weights(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values, gain = torch.randn(14, generator=generator), torch.rand(14, generator=generator)
    mask = LAYOUT.expand(torch.rand(10, generator=generator) < 0.5)
    active = {i for i in [*range(6), *range(8, 12)] if bool(mask[i])}
    assert active <= set(adjust(values, mask, gain, share=0.0))


def test_cap_limits_growth_but_removes_no_kept_weight() -> None:
    """Of 10 weights 4 are kept. A cap of .5 allows one more, .45 and .1 allow none."""
    values, mask, gain = example()
    gain[[1, 4, 5]] = torch.tensor([5.0, 7.0, 6.0])
    assert adjust(values, mask, gain, share=0.5) == [1, 2, 3, 4, 5, 10, 11]
    assert adjust(values, mask, gain, share=0.5, max_density=0.5) == [2, 3, 4, 10, 11]
    for cap in (0.45, 0.1):
        assert adjust(values, mask, gain, share=0.5, max_density=cap) == [2, 3, 10, 11]


def test_buffers_have_no_gain_and_are_kept() -> None:
    """Weights 0-7, bias, norm, and running statistics. `gain` has no entries for the statistics."""
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))
    gain = torch.ones(layout.num_trainable)
    after = adjust_mask(
        layout,
        layout.full_mask(),
        torch.arange(layout.size, dtype=torch.float32),
        gain,
        {"0.weight": 1.0},
        share=0.5,
        base_cost=1.0,
        max_density=1.0,
    )
    assert after.tolist() == [False] * 4 + [True] * (layout.size - 4)


def test_model_without_maskable_weights_does_not_change() -> None:
    layout = ParameterLayout.of(nn.BatchNorm1d(2))
    after = adjust_mask(
        layout,
        layout.full_mask(),
        torch.zeros(8),
        torch.ones(4),
        {},
        share=0.5,
        base_cost=1.0,
        max_density=1.0,
    )
    assert bool(after.all())
