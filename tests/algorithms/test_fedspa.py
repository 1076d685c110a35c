"""FedSpa's client and server steps: masks compared with sets of indices, and the server's mean."""

from collections.abc import Mapping
from math import ceil, cos, pi
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from algorithms.fedspa import FedSpa, FedSpaConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.seeds import stream
from orchestrator.models.registry import resolve_builder
from orchestrator.sparsity.payload import Bits, Masked
from tests.support.errors import rejects
from tests.support.fakes import (
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.nets import small_cnn as net
from tests.support.weight_scores import largest

Options = Mapping[str, Any]
SHAPE = (1, 5, 5)


def make(
    *,
    seed: int = 0,
    round_idx: int = 0,
    level: float = 0.5,
    training: Options | None = None,
    sparsity: Options | None = None,
    **options: object,
) -> tuple[FedSpa, CheckedRun]:
    """A client with 11 images in batches of 4, in a run of 4 rounds."""
    flat = seeded(net, seed)
    training = {
        "local_epochs": 2,
        "batch_size": 4,
        "lr": 0.1,
        "momentum": 0.9,
        "rounds": 4,
        **(training or {}),
    }
    sparsity = {"level": level, "allocation": "uniform", **(sparsity or {})}
    setting = make_setting(flat, SHAPE, training=training, sparsity=sparsity, seed=seed)
    algorithm = FedSpa(FedSpaConfig.model_validate({"name": "fedspa", **options}), setting)
    state = algorithm.init_client(0)
    received = ModelValues(flat.values * state.mask, state.mask)
    data = random_data(11, SHAPE, 6, seed)
    return algorithm, make_run(setting, flat, data, received=received, round_idx=round_idx, state=state)


def finish(algorithm: FedSpa, run: CheckedRun) -> Tensor:
    """The client's next mask. `CheckedRun` checks the current mask after every step."""
    mask: Tensor = algorithm.client_update(run).client_state.mask
    assert run.num_steps >= 6
    return mask


def growth_gradient(run: CheckedRun, num_batches: int) -> Tensor:
    """Plain PyTorch in evaluation mode: the sum over the first batches of new orders."""
    flat = seeded(net)
    flat.load(run.values)
    flat.module.eval()
    total = torch.zeros_like(flat.grad)
    for epoch in run.batches("growth", num_batches):
        inputs, labels = next(iter(list(epoch)))
        flat.grad.zero_()
        torch.autograd.backward(cross_entropy(flat.module(inputs), labels))
        total += flat.grad
    return total


# Client masks


@pytest.mark.parametrize(
    ("level", "counts"),
    [(0.5, [4800, 20_691, 297_484, 73_728, 1920]), (0.8, [4371, 7833, 112_626, 32_698, 1920])],
)
def test_default_allocation_is_erk_with_the_counts_of_the_siblings_cnn(
    level: float, counts: list[int]
) -> None:
    """RigL's form over 797,248 weights, computed outside this program: 398,623 and 159,448."""
    flat = seeded(lambda: resolve_builder("cnn_cifar")((3, 32, 32), 10))
    setting = make_setting(flat, (3, 32, 32), sparsity={"level": level})
    mask = FedSpa(FedSpaConfig(name="fedspa"), setting).init_client(4).mask
    assert list(flat.layout.active(mask).values()) == counts
    assert sum(counts) == {0.5: 398_623, 0.8: 159_448}[level]
    assert int(mask.sum()) == sum(counts) + 714


@pytest.mark.parametrize(
    ("variant", "mask_seed", "same"),
    [
        ("dst", None, True),
        ("rsm", None, False),
        ("dst", "per_client", False),
        ("rsm", "shared", True),
    ],
)
def test_first_masks_are_shared_or_per_client(variant: str, mask_seed: str | None, same: bool) -> None:
    algorithm, _ = make(variant=variant, mask_seed=mask_seed)
    masks = [algorithm.init_client(k).mask for k in (0, 1, 1)]
    assert torch.equal(masks[1], masks[2])
    assert torch.equal(masks[0], masks[1]) == same
    assert list(algorithm.setting.layout.active(masks[1]).values()) == [18, 108]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("round_idx", "batches"), [(0, 1), (1, 1), (3, 1), (2, 3)])
def test_mask_after_a_round_follows_the_definition(seed: int, round_idx: int, batches: int) -> None:
    """Prune the r_l = ceil(alpha_t n_l) smallest weights of a layer.

    Then grow r_l weights outside the rest by |gradient|; T = 4.
    """
    algorithm, run = make(seed=seed, round_idx=round_idx, alpha=0.4, growth_batches=batches)
    after = finish(algorithm, run)
    before, gradient = algorithm.init_client(0).mask, growth_gradient(run, batches)
    alpha = 0.2 * (1 + cos(pi * round_idx / 4))
    expected_counts = {0: (8, 44), 1: (7, 37), 2: (4, 22), 3: (2, 7)}[round_idx]
    assert expected_counts == tuple(ceil(alpha * n - 1e-12) for n in (18, 108))
    for segment, count in zip(algorithm.setting.layout.maskable, expected_counts, strict=True):
        was = set(before[segment.slice].nonzero().view(-1).tolist())
        values, slope = run.values[segment.slice].abs(), gradient[segment.slice].abs()
        kept = largest(values, sorted(was), len(was) - count)
        free = [i for i in range(segment.size) if i not in kept]
        grown = largest(slope, free, count)
        now = set(after[segment.slice].nonzero().view(-1).tolist())
        assert now == kept | grown
        assert len(now) == len(was)
        assert len(now ^ was) == 2 * (count - len(grown & was))
    assert not torch.equal(after, before)


def test_training_and_upload_use_the_old_mask() -> None:
    algorithm, run = make()
    payload = algorithm.client_update(run).payload
    before, after = algorithm.init_client(0).mask, run.state.mask
    model, bits = payload
    assert isinstance(model, Masked)
    assert isinstance(bits, Bits)
    layout = algorithm.setting.layout
    assert model.mask.tolist() == layout.restrict(before).tolist()
    assert model.values.tolist() == run.values[before].tolist()
    assert bits.bits.tolist() == layout.restrict(after).tolist()
    assert int(run.values[~before].count_nonzero()) == 0


def test_alpha_follows_the_cosine_over_the_rounds() -> None:
    algorithm, _ = make(alpha=0.5, training={"rounds": 500})
    assert algorithm.alpha_at(0) == 0.5
    assert algorithm.alpha_at(125) == pytest.approx(0.25 * (1 + 0.5**0.5))
    assert algorithm.alpha_at(250) == pytest.approx(0.25)
    assert 0 < algorithm.alpha_at(499) < 1e-5
    assert algorithm.alpha_at(500) == 0
    assert make(variant="rsm")[0].alpha_at(0) == 0


def randomly_adjusted(
    run: CheckedRun, part: slice, before: Tensor, num_kept: int, num_after: int
) -> set[int]:
    """Where the mask of one layer must be after random growth."""
    task = run.task
    rng = stream(run.setting.seed, "client", task.round_idx, task.client_id, "growth")
    score = torch.from_numpy(rng.random(run.setting.layout.size))[part]
    active = before[part].nonzero().view(-1).tolist()
    kept = largest(run.values[part].abs(), active, num_kept)
    free = [i for i in range(before[part].numel()) if i not in kept]
    return kept | largest(score, free, num_after - num_kept)


@pytest.mark.parametrize("client_id", range(8))
def test_number_of_replaced_weights_is_not_rounded_up_by_a_rounding_error(client_id: int) -> None:
    """In floating point, 0.55 of 100 weights is 55.00000000000001. r_l must be 55."""
    assert 0.55 * 100 > 55
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(20, 10)))
    setting = make_setting(flat, (1, 4, 5), sparsity={"level": 0.5, "allocation": "uniform"})
    algorithm = FedSpa(FedSpaConfig(name="fedspa", alpha=0.55, growth="random"), setting)
    state = algorithm.init_client(client_id)
    received = ModelValues(flat.values * state.mask, state.mask)
    data = random_data(8, (1, 4, 5), 10)
    run = make_run(setting, flat, data, received=received, state=state, client_id=client_id)
    algorithm.client_update(run)
    expected = randomly_adjusted(run, slice(0, 200), state.mask, 45, 100)
    assert set(run.state.mask[:200].nonzero().view(-1).tolist()) == expected


def test_growth_gradient_uses_evaluation_mode() -> None:
    """The counts do not change, and the ranking uses a gradient with running statistics."""

    def normalised() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(25, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 6))

    flat = seeded(normalised)
    sparsity = {"level": 0.5, "allocation": "uniform"}
    setting = make_setting(flat, SHAPE, training={"batch_size": 4, "lr": 0.1}, sparsity=sparsity)
    algorithm = FedSpa(FedSpaConfig(name="fedspa"), setting)
    before = algorithm.init_client(0)
    received = ModelValues(flat.values * before.mask, before.mask)
    run = make_run(setting, flat, random_data(11, SHAPE, 6), received=received, state=before)
    algorithm.client_update(run)
    other = seeded(normalised)
    other.load(run.values)
    other.module.eval()
    inputs, labels = next(next(run.batches("growth", 1)))
    torch.autograd.backward(cross_entropy(other.module(inputs), labels))
    kept = largest(run.values[:200].abs(), before.mask[:200].nonzero().view(-1).tolist(), 50)
    grown = largest(other.grad[:200].abs(), [i for i in range(200) if i not in kept], 50)
    assert set(run.state.mask[:200].nonzero().view(-1).tolist()) == kept | grown


def test_random_growth_uses_all_masked_positions() -> None:
    """The linear layer has 108 masked and 36 newly pruned weights.

    36 of these 144 grow, each in 1 round of 4.
    """
    linear, times_grown, num_rounds = slice(40, 256), torch.zeros(216), 60
    training = {"rounds": 10**6, "local_epochs": 1}
    for round_idx in range(num_rounds):
        algorithm, run = make(round_idx=round_idx, growth="random", alpha=1 / 3, training=training)
        algorithm.client_update(run)
        times_grown += run.state.mask[linear]
    masked = ~algorithm.init_client(0).mask[linear]
    assert float(times_grown[masked].mean()) == pytest.approx(num_rounds / 4, rel=0.1)
    assert times_grown[masked].min() > 3
    assert times_grown[masked].max() < 30


def test_layers_without_masked_weights_do_not_change() -> None:
    """The densities are 1 and 1/2. The first layer has no free position."""
    sparsity = {"level": None, "allocation": "explicit", "layer_density": {"3.weight": 0.5}}
    algorithm, run = make(sparsity=sparsity)
    after = finish(algorithm, run)
    assert algorithm.setting.layout.active(after) == {"0.weight": 36, "3.weight": 108}


def test_dense_client_computes_no_growth_gradient() -> None:
    algorithm, run = make(level=0.0)
    assert bool(finish(algorithm, run).all())
    assert run.flops.total == run.flops.total_dense == 22 * 6 * 540


@pytest.mark.parametrize(
    ("options", "growth"), [({}, True), ({"growth": "random"}, False), ({"variant": "rsm"}, False)]
)
def test_flops_of_a_round(options: Options, growth: bool) -> None:
    """22 images at 3 x 2 x 270 FLOPs; the growth batch of 4 is a sparse forward and a dense backward pass.

    MACs: conv weights serve 9 positions, so dense 36 x 9 + 216 = 540 and sparse 18 x 9 + 108 = 270. The siblings
    count the growth batch as 3 dense forward passes.
    """
    algorithm, run = make(**options)
    result = algorithm.client_update(run)
    extra = 4 * (2 * 270 + 2 * 2 * 540) if growth else 0
    assert result.train_flops == pytest.approx(22 * 6 * 270 + extra, rel=1e-12)
    assert result.train_flops_dense == 22 * 6 * 540 + (4 * 6 * 540 if growth else 0)


def test_proximal_term_affects_training_but_not_the_growth_gradient() -> None:
    algorithm, run = make(mu=0.25)
    algorithm.load(run)
    run.values.add_(1.0)
    run.grad.fill_(7.0)
    algorithm.grad_hook(run)
    assert torch.equal(run.grad, 7.0 + 0.25 * (run.values - run.start))
    after = finish(*make(mu=3.0, training={"lr": 1e-12, "momentum": 0.0}))
    assert torch.equal(after, finish(*make(mu=0.0, training={"lr": 1e-12, "momentum": 0.0})))
    pulled, free = make(mu=3.0), make(mu=0.0)
    finish(*pulled)
    finish(*free)
    assert (pulled[1].values - pulled[1].start).norm() < (free[1].values - free[1].start).norm()


# Levels


def test_increasing_level_prunes_more_than_it_grows() -> None:
    """Levels 0.5, 0.6, 0.7: of 36 weights 18, 14 and 10 are kept, of 216 weights 108, 86 and 64."""
    schedule = {"kind": "linear", "final_level": 0.7, "end_round": 2}
    for round_idx, counts in ((0, [18, 108]), (1, [14, 86]), (2, [10, 64])):
        algorithm, run = make(round_idx=round_idx, sparsity={"schedule": schedule})
        after = finish(algorithm, run)
        assert list(algorithm.setting.layout.active(after).values()) == counts
        assert algorithm.max_density(round_idx, 0) == 0.5  # a client may still have its first mask


def test_decreasing_level_grows_more_than_it_prunes() -> None:
    """alpha_1 = .4268.

    Of 18 and 108 weights, ceil(7.7) and ceil(46.1) are pruned, and 27 and 162 remain after growth.
    """
    schedule = {"kind": "linear", "final_level": 0.25, "end_round": 1}
    algorithm, run = make(round_idx=1, growth="random", sparsity={"schedule": schedule})
    before, after = algorithm.init_client(0).mask, finish(algorithm, run)
    for part, num_kept, num_after in ((slice(0, 36), 10, 27), (slice(40, 256), 61, 162)):
        expected = randomly_adjusted(run, part, before, num_kept, num_after)
        assert set(after[part].nonzero().view(-1).tolist()) == expected
    assert algorithm.max_density(1, 0) == 0.75


def test_schedule_without_replacement_only_prunes() -> None:
    schedule = {"kind": "linear", "final_level": 0.75, "end_round": 1}
    algorithm, run = make(round_idx=1, alpha=0, sparsity={"schedule": schedule})
    after = finish(algorithm, run)
    assert list(algorithm.setting.layout.active(after).values()) == [9, 54]
    assert not bool((after & ~algorithm.init_client(0).mask).any())
    assert run.flops.total == 22 * 6 * 270  # no growth gradient


# The server


def mean_of(algorithm: FedSpa, server: Tensor, clients: list[tuple[float, Tensor, Tensor]]) -> Tensor:
    """The server's next parameters after clients of (number of samples, change, mask)."""
    state = ServerState(params=server)
    aggregator = algorithm.aggregator()
    for num_examples, change, mask in clients:
        start = server * mask
        aggregator.add(
            Contribution(
                client_id=0,
                weight=algorithm.weight(int(num_examples)),
                values=(start + change) * mask,
                mask=mask,
                start=start,
            )
        )
    return algorithm.server_update(state, aggregator.finish(server), 0).params


def test_weight_changes_by_the_share_of_clients_whose_mask_has_it() -> None:
    """All clients change it by 8. In 4, 3, 2, 1 and 0 of 4 masks it changes by 8, 6, 4, 2 and 0."""
    algorithm, _ = make()
    server = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.1])
    masks = [torch.arange(5) < n for n in (4, 3, 2, 1)]
    after = mean_of(algorithm, server, [(1 + i, torch.full((5,), 8.0), m) for i, m in enumerate(masks)])
    assert after.tolist()[:4] == [9, 7, 5, 3]
    assert torch.equal(after[4], server[4])


def test_clients_count_equally_or_by_samples() -> None:
    """Changes 4 and 8 with 1 and 3 samples: mean 6, or 7."""
    everything = torch.ones(1, dtype=torch.bool)
    clients = [(1.0, torch.tensor([4.0]), everything), (3.0, torch.tensor([8.0]), everything)]
    assert mean_of(make()[0], torch.zeros(1), clients).tolist() == [6]
    assert mean_of(make(agg_weight="samples")[0], torch.zeros(1), clients).tolist() == [7]


def test_first_step_is_minus_lr_times_the_gradient() -> None:
    """One client and one full-batch step: w_1 - w_0 = -lr g inside the mask, 0 outside."""
    flat = seeded(net)
    algorithm, run = make(training={"batch_size": 11, "local_epochs": 1, "momentum": 0.0})
    model = algorithm.client_update(run).payload
    received = algorithm.unpack(model, run.task, run.state)
    assert received is not None
    mask = algorithm.init_client(0).mask
    after = mean_of(algorithm, flat.values.clone(), [(11, received.values - flat.values * mask, mask)])
    initial = flat.values.clone()
    flat.load(initial * mask)
    inputs, labels = run.data.images, run.data.labels  # type: ignore[attr-defined]
    torch.autograd.backward(cross_entropy(flat.module(inputs), labels))
    moved = after - initial
    assert torch.allclose(moved, -0.1 * flat.grad * mask, atol=1e-6)
    strong = flat.grad.abs() > 1e-3
    assert torch.equal(moved[mask & strong].sign(), -flat.grad[mask & strong].sign())


def test_zero_values_inside_the_mask_are_sent() -> None:
    """The bytes follow from the mask and do not depend on the values."""
    algorithm, run = make()
    run.load(torch.zeros_like(run.values), run.state.mask)
    (model,) = algorithm.pack(run)
    assert isinstance(model, Masked)
    assert model.values.size == 18 + 108 + 4 + 6


def test_schedule_with_static_masks_is_rejected() -> None:
    with rejects("sparsity.schedule.kind", "linear"):
        make(variant="rsm", sparsity={"schedule": {"kind": "linear", "final_level": 0.7}})


def test_levels_that_empty_a_layer_are_rejected() -> None:
    with rejects("sparsity.level", 0.99):
        make(level=0.99)
    with rejects("sparsity.level", 0.99):
        make(sparsity={"schedule": {"kind": "linear", "final_level": 0.99}})
    with rejects("sparsity.level", 0.99):
        make(sparsity={"device_levels": {"default": 0.99}})
