"""FLASH: the search, layer densities, fixed and changing masks, and nested masks."""

from math import ceil

import pytest
import torch

from algorithms.flash import FLASH, FLASHState
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Aggregate
from tests.support.errors import rejects
from tests.support.fakes import experiment

FLASH_OPTIONS = {"algorithm.name": "flash", "algorithm.search_epochs": 2}


def method(**options: object) -> FLASH:
    algorithm = experiment({**FLASH_OPTIONS, **options}).algorithm
    assert isinstance(algorithm, FLASH)
    return algorithm


def test_mask_has_the_mean_layer_densities_of_the_search_and_never_changes() -> None:
    """d = .2: the counts are proportional to the mean number of weights in the clients' masks, and add up to d P."""
    run = experiment({**FLASH_OPTIONS, "algorithm.search_share": 0.3})
    rounds = play(run)
    (probe,) = rounds[0].probes
    assert len(probe.jobs) == ceil(0.3 * 8)
    layout, means = run.setting.layout, probe.aggregate.extras["mask"]
    assert probe.after.mask is not None
    counts, start = layout.active(probe.after.mask), 0
    total = sum(counts.values())
    assert total == sum(int(0.2 * s.size + 1e-9) for s in layout.maskable)
    for segment in layout.maskable:
        share = float(means[start : start + segment.size].sum()) / float(means.sum())
        assert abs(counts[segment.name] - share * total) < len(layout.maskable)
        start += segment.size
    initial = torch.from_numpy(run.initial.copy())
    assert torch.equal(probe.after.params, initial * probe.after.mask)
    for played in rounds:
        assert played.after.mask is not None
        assert torch.equal(played.after.mask, probe.after.mask)
    assert not any(played.probes for played in rounds[1:])


def test_search_sends_masks_of_the_same_size_that_differ() -> None:
    (probe,) = play(experiment({**FLASH_OPTIONS, "algorithm.search_share": 0.3}), 1)[0].probes
    masks = [payload[0].bits for payload in probe.payloads]  # type: ignore[union-attr]
    assert len({int(mask.sum()) for mask in masks}) == 1
    assert (masks[0] != masks[1]).any()
    assert all(model is None for model in probe.models)


@pytest.mark.parametrize("interval", [1, 2])
def test_server_chooses_the_largest_weights_of_each_layer(interval: int) -> None:
    run = experiment({**FLASH_OPTIONS, "algorithm.variant": "jmwst", "algorithm.update_interval": interval})
    layout = run.setting.layout
    for played in play(run):
        before, after = played.before.mask, played.after.mask
        assert before is not None
        assert after is not None
        own_masks = [model.mask for model in played.models if model is not None]
        moved = played.round_idx % interval == 0
        assert any(not torch.equal(mask, before) for mask in own_masks if mask is not None) == moved
        assert torch.equal(before, after) == (not moved)
        sizes = played.aggregate.values.abs()
        for segment in layout.maskable:
            kept = after[segment.slice]
            if moved and not kept.all():
                assert float(sizes[segment.slice][kept].min()) >= float(sizes[segment.slice][~kept].max())
        assert sum(layout.active(after).values()) == sum(layout.active(before).values())


def test_layer_counts_follow_the_clients_masks() -> None:
    """Every client keeps all of the last layer and .2 of the first: the mask keeps more of the last layer."""
    algorithm = method()
    layout = algorithm.setting.layout
    shares = torch.zeros(layout.size, dtype=torch.float64)
    for segment, share in zip(layout.maskable, (0.2, 0.2, 1.0), strict=True):
        shares[segment.slice] = share
    sums = [0.2 * 12_800, 0.2 * 20_000, 1_000.0]
    total = 2_560 + 4_000 + 200
    counts = list(algorithm.layer_counts(shares).values())
    assert sum(counts) == total
    assert all(abs(n - total * x / sum(sums)) < 3 for n, x in zip(counts, sums, strict=True))


def test_masks_of_devices_are_nested() -> None:
    levels = {
        "fleet.name": "five-tier",
        "sparsity.device_levels.tier-1-16": 0.95,
        "sparsity.device_levels.tier-1-8": 0.9,
    }
    run = experiment({**FLASH_OPTIONS, **levels, "fleet.num_clients": 20, "training.clients_per_round": 20})
    played = play(run, 2)[1]
    masks = {}
    for received in played.received:
        assert received is not None
        assert received.mask is not None
        masks[int(run.setting.layout.restrict(received.mask).sum())] = received.mask
    assert len(masks) == 3
    small, middle, large = (masks[n] for n in sorted(masks))
    assert not (small & ~middle).any()
    assert not (middle & ~large).any()


def test_device_that_is_denser_than_the_server_is_rejected() -> None:
    with rejects("sparsity.device_levels.tier-1-1", 0.7):
        experiment({**FLASH_OPTIONS, "fleet.name": "five-tier", "sparsity.device_levels.tier-1-1": 0.7})


def test_density_1_equals_fedavg_of_equal_clients() -> None:
    heterofl = {"algorithm.name": "heterofl", "algorithm.masked_loss": False}
    ours = play(experiment({**FLASH_OPTIONS, "sparsity.level": 0, "algorithm.search_epochs": 1}))
    for left, right in zip(ours, play(experiment(heterofl)), strict=True):
        assert torch.equal(left.after.params, right.after.params)


def test_fixed_mask_is_kept_by_the_server_step() -> None:
    algorithm = method()
    state = FLASHState(params=torch.zeros(4), mask=torch.ones(4, dtype=torch.bool), searched=True)
    after = algorithm.server_update(state, Aggregate(torch.ones(4, dtype=torch.float64), None, 1.0), 0)
    assert after.params.tolist() == [1.0] * 4
    assert after.mask is state.mask
