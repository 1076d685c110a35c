"""Initial and pruned masks: counts, entries and repeatability."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config.sections import SparsityConfig
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import (
    magnitude_mask,
    mask_digest,
    mask_distance,
    prune_share,
    random_mask,
    reject_empty_layers,
)
from tests.support.errors import rejects

# weights 0-5, biases 6-7, weights 8-13, biases 14-16
LAYOUT = ParameterLayout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 3)))


def test_magnitude_mask_keeps_the_largest_absolute_values() -> None:
    values = torch.zeros(LAYOUT.size)
    values[:6] = torch.tensor([0.1, -3.0, 2.0, -0.2, 2.0, -2.0])
    mask = magnitude_mask(LAYOUT, values, {"0.weight": 3, "1.weight": 2})
    assert mask[:6].tolist() == [False, True, True, False, True, False]
    assert mask[8:14].tolist() == [True, True, False, False, False, False]
    assert bool(mask[6:8].all())
    assert bool(mask[14:].all())


def test_magnitude_mask_of_initial_weights_has_the_budget() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5), nn.Linear(400, 30))
    layout = ParameterLayout.of(module)
    values = torch.cat([p.detach().flatten() for p in module.parameters()])
    counts = allocate(layout, 0.2, SparsityConfig(allocation="erk_rescaled"))
    mask = magnitude_mask(layout, values, counts)
    assert layout.active(mask) == counts
    for segment in layout.maskable:
        size, kept = values[segment.slice].abs(), mask[segment.slice]
        assert float(size[kept].min()) >= float(size[~kept].max())


def test_random_mask_has_the_budget_and_is_repeatable() -> None:
    counts = {"0.weight": 2, "1.weight": 6}
    masks = [random_mask(LAYOUT, counts, np.random.default_rng(seed)) for seed in (1, 1, 2, 3, 4, 5)]
    assert all(LAYOUT.active(mask) == counts for mask in masks)
    assert all(bool(mask[6:8].all()) and bool(mask[14:].all()) for mask in masks)
    assert torch.equal(masks[0], masks[1])
    assert len({tuple(mask.tolist()) for mask in masks}) > 1


def test_random_mask_is_uniform_over_positions() -> None:
    """4000 masks with 2 of 6 entries: 1333 masks keep a given entry, with a standard deviation of 30."""
    rng = np.random.default_rng(0)
    masks = torch.stack([random_mask(LAYOUT, {"0.weight": 2, "1.weight": 0}, rng)[:6] for _ in range(4000)])
    assert masks.sum(0).tolist() == pytest.approx([4000 / 3] * 6, abs=5 * 30)


def test_random_mask_rejects_a_count_above_the_segments_size() -> None:
    with pytest.raises(ValueError, match="larger"):
        random_mask(LAYOUT, {"0.weight": 7, "1.weight": 1}, np.random.default_rng(0))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 11, 100, 101])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2, 0.5, 0.9, 1.0])
def test_prune_share_removes_entries_below_the_percentile(size: int, share: float) -> None:
    """Compared with numpy's percentile, for entries of different magnitudes. At least one entry is kept."""
    layout = ParameterLayout.of(nn.Linear(size, 1, bias=False))
    values = torch.from_numpy(
        np.random.default_rng(size).permutation(size).astype(np.float32) - size / 3 + 0.1
    )
    mask = prune_share(layout, layout.full_mask(), values, share)
    magnitude = values.abs().double().numpy()
    below = np.percentile(magnitude, 100 * share)
    # an entry may be equal to the percentile, up to rounding; this entry is kept
    clear = np.abs(magnitude - below) > 1e-4
    assert mask.numpy()[clear].tolist() == (magnitude > below)[clear].tolist()
    assert bool(mask.numpy()[~clear].all())
    assert bool(mask.any())


def test_prune_share_counts_active_entries_by_segment() -> None:
    """With 5 active entries, 0.5 * 4 = 2 are removed. With 2, 0.5 * 1 is rounded up, and 1 is removed."""
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


def test_last_of_equal_entries_are_removed() -> None:
    after = prune_share(LAYOUT, LAYOUT.full_mask(), torch.ones(LAYOUT.size), 0.4)
    assert after[:6].tolist() == [True, True, True, True, False, False]


def test_exact_product_is_not_rounded_up() -> None:
    """0.1 * (31 - 1) is 3, although 30 * 0.1 may be above 3 in floating point."""
    layout = ParameterLayout.of(nn.Linear(31, 1, bias=False))
    after = prune_share(layout, layout.full_mask(), torch.arange(31, dtype=torch.float32), 0.1)
    assert int((~after).sum()) == 3


def test_empty_segment_stays_empty() -> None:
    mask = LAYOUT.full_mask()
    mask[:6] = False
    after = prune_share(LAYOUT, mask, torch.ones(LAYOUT.size), 0.5)
    assert LAYOUT.active(after) == {"0.weight": 0, "1.weight": 3}


def test_mask_distance_is_the_mean_over_layers() -> None:
    """2 of 6 and 1 of 6 entries differ: (1/3 + 1/6) / 2. Biases do not count."""
    left, right = LAYOUT.full_mask(), LAYOUT.full_mask()
    left[[0, 9]] = False
    right[[5, 6]] = False
    assert mask_distance(LAYOUT, left, right) == pytest.approx(0.25)
    assert mask_distance(LAYOUT, left, left) == 0.0


def test_mask_distance_weighs_small_and_large_layers_equally() -> None:
    layout = ParameterLayout.of(nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 1)))
    left, right = layout.full_mask(), layout.full_mask()
    right[layout.maskable[1].slice] = False
    assert mask_distance(layout, left, right) == 0.5


def test_mask_with_an_empty_layer_is_rejected() -> None:
    mask = LAYOUT.full_mask()
    mask[8:13] = False
    reject_empty_layers(LAYOUT, mask, 0.5)
    mask[13] = False
    with rejects("sparsity.level", 0.5):
        reject_empty_layers(LAYOUT, mask, 0.5)


class TestMaskDigest:
    """The digest of a mask."""

    def test_digest_depends_only_on_the_entries(self) -> None:
        mask = torch.tensor([True, False, True, True, False, False, False, True, True])
        assert mask_digest(mask) == mask_digest(mask.clone())
        wide = torch.zeros(18, dtype=torch.bool)
        wide[::2] = mask
        assert mask_digest(wide[::2]) == mask_digest(mask)

    @pytest.mark.parametrize("entry", range(9))
    def test_digest_differs_when_one_entry_differs(self, entry: int) -> None:
        mask = torch.tensor([True, False, True, True, False, False, False, True, True])
        other = mask.clone()
        other[entry] = ~other[entry]
        assert mask_digest(mask) != mask_digest(other)
