"""Initial masks: exact counts, the right entries, and seeds."""

import numpy as np
import pytest
import torch
from torch import nn

from orchestrator.config import SparsityConfig
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.allocation import allocate
from orchestrator.sparsity.masks import magnitude_mask, random_mask

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
