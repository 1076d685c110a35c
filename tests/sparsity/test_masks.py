"""Initial and pruned masks: exact counts, the right entries, and seeds."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config.sections import SparsityConfig
from orchestrator.errors import ConfigError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import (
    magnitude_mask,
    mask_distance,
    prune_share,
    random_mask,
    reject_empty_layers,
)

# weights 0-5, biases 6-7, weights 8-13, biases 14-16
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3)))


def test_magnitude_mask_keeps_the_largest_of_either_sign() -> None:
    values = torch.zeros(LAYOUT.size)
    values[:6] = torch.tensor([0.1, -3.0, 2.0, -0.2, 2.0, -2.0])
    mask = magnitude_mask(LAYOUT, values, {"0.weight": 3, "1.weight": 2})
    assert mask[:6].tolist() == [False, True, True, False, True, False]
    assert mask[8:14].tolist() == [True, True, False, False, False, False]
    assert bool(mask[6:8].all())
    assert bool(mask[14:].all())


def test_magnitude_mask_of_a_real_initialisation_has_the_budget() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(400, 30))
    layout = ParameterLayout.of(module)
    values = torch.cat([p.detach().flatten() for p in module.parameters()])
    counts = allocate(layout, 0.2, SparsityConfig(allocation="erk_rescaled"))
    mask = magnitude_mask(layout, values, counts)
    assert layout.active(mask) == counts
    for segment in layout.maskable:
        size, kept = values[segment.slice].abs(), mask[segment.slice]
        assert float(size[kept].min()) >= float(size[~kept].max())


def test_random_mask_has_the_budget_and_follows_its_generator() -> None:
    counts = {"0.weight": 2, "1.weight": 6}
    masks = [random_mask(LAYOUT, counts, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    assert all(LAYOUT.active(mask) == counts for mask in masks)
    assert all(bool(mask[6:8].all()) and bool(mask[14:].all()) for mask in masks)
    assert torch.equal(masks[0], masks[1])
    assert len({tuple(mask.tolist()) for mask in masks}) > 1


def test_random_mask_is_uniform_over_positions() -> None:
    """4000 draws of 2 out of 6: each position is drawn 1333 times, standard deviation 30."""
    rng = np.random.default_rng(0)
    draws = torch.stack([random_mask(LAYOUT, {"0.weight": 2, "1.weight": 0}, rng)[:6] for _ in range(4000)])
    assert draws.sum(0).tolist() == pytest.approx([4000 / 3] * 6, abs=5 * 30)


def test_random_mask_refuses_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="larger"):
        random_mask(LAYOUT, {"0.weight": 7, "1.weight": 1}, np.random.default_rng(0))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 11, 100, 101])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0])
def test_pruning_a_share_is_pruning_below_its_percentile(size: int, share: float) -> None:
    """Against numpy's, in entries of different sizes; one stays at least."""
    layout = ParameterLayout.of(nn.Linear(size, 1, bias=False))
    values = torch.from_numpy(
        np.random.default_rng(size).permutation(size).astype(np.float32) - size / 3 + 0.1
    )
    mask = prune_share(layout, layout.full_mask(), values, share)
    magnitude = values.abs().double().numpy()
    below = np.percentile(magnitude, 100 * share)
    clear = (
        np.abs(magnitude - below) > 1e-4
    )  # where the percentile is an entry, it is that one up to rounding
    assert mask.numpy()[clear].tolist() == (magnitude > below)[clear].tolist()
    assert bool(mask.numpy()[~clear].all())
    assert bool(mask.any())


def test_pruning_a_share_counts_active_entries_by_segment() -> None:
    """5 of 6 active, .5 of 4 is 2: the two smallest go; 2 of 6 active, .5 of 1 is .5: one goes."""
    mask, values = LAYOUT.full_mask(), torch.zeros(LAYOUT.size)
    mask[[0, 8, 9, 10, 11]] = False
    values[:6] = torch.tensor([0.0, -5.0, 1.0, 4.0, -2.0, 3.0])
    values[8:14] = torch.tensor([9.0, 9.0, 9.0, 9.0, -2.0, 1.0])
    before = mask.clone()
    after = prune_share(LAYOUT, mask, values, 0.5)
    assert torch.equal(mask, before)
    assert after[:6].tolist() == [False, True, False, True, False, True]
    assert after[8:14].tolist() == [False, False, False, False, True, False]
    assert bool(after[6:8].all())
    assert bool(after[14:].all())


def test_of_equal_entries_the_last_are_pruned() -> None:
    after = prune_share(LAYOUT, LAYOUT.full_mask(), torch.ones(LAYOUT.size), 0.4)
    assert after[:6].tolist() == [True, True, True, True, False, False]


def test_a_product_that_is_whole_is_not_rounded_up() -> None:
    """.1 of 31 - 1 are 3, although 30 x .1 may be more in binary."""
    layout = ParameterLayout.of(nn.Linear(31, 1, bias=False))
    after = prune_share(layout, layout.full_mask(), torch.arange(31, dtype=torch.float32), 0.1)
    assert int((~after).sum()) == 3


def test_a_segment_that_is_empty_stays_empty() -> None:
    mask = LAYOUT.full_mask()
    mask[:6] = False
    after = prune_share(LAYOUT, mask, torch.ones(LAYOUT.size), 0.5)
    assert LAYOUT.active(after) == {"0.weight": 0, "1.weight": 3}


def test_the_distance_of_masks_is_the_mean_of_the_layers_shares() -> None:
    """2 of 6 and 1 of 6 differ: (1/3 + 1/6) / 2; biases are no part of it."""
    left, right = LAYOUT.full_mask(), LAYOUT.full_mask()
    left[[0, 9]] = False
    right[[5, 6]] = False
    assert mask_distance(LAYOUT, left, right) == pytest.approx(0.25)
    assert mask_distance(LAYOUT, left, left) == 0.0


def test_small_layers_weigh_as_much_as_large_ones() -> None:
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 1)))
    left, right = layout.full_mask(), layout.full_mask()
    right[layout.maskable[1].slice] = False
    assert mask_distance(layout, left, right) == 0.5


def test_a_mask_without_a_weight_of_some_layer_is_refused_by_its_name() -> None:
    mask = LAYOUT.full_mask()
    mask[8:13] = False
    reject_empty_layers(LAYOUT, mask, 0.5)
    mask[13] = False
    with pytest.raises(ConfigError, match=r"sparsity.level=0.5: .*none of the 6 weights of layer 1.weight"):
        reject_empty_layers(LAYOUT, mask, 0.5)
