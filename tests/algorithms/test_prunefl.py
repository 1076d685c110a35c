"""PruneFL's second stage: squared gradients, adjustments, regrown weights, bytes and FLOPs."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from algorithms.prunefl import PruneFL, PruneFLClient, PruneFLConfig, PruneFLState
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Contribution
from orchestrator.federation.exchange import ModelValues
from orchestrator.models.parameters import FlatModule
from orchestrator.sparsity.payload import Dense
from orchestrator.sparsity.wire import section_bytes
from tests.support.errors import rejects
from tests.support.fakes import (
    assert_same_params,
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)

SHAPE = (1, 4, 4)
OPTIONS: Mapping[str, object] = {
    "algorithm.name": "prunefl",
    "algorithm.initial_pruning": False,
    "algorithm.adjust_every": 2,
    "training.rounds": 6,
}


def net() -> nn.Module:
    """8 convolution weights used at 9 positions, and 2 biases. 54 linear weights used once, and 3 biases."""
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(18, 3))


def small() -> nn.Module:
    """8 weights at entries 0-7, biases 8-9."""
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))


def method(
    flat: FlatModule,
    shape: tuple[int, int, int] = SHAPE,
    *,
    sparsity: Mapping[str, object] | None = None,
    **options: object,
) -> PruneFL:
    training = {"batch_size": 4, "local_epochs": 2, "lr": 0.1, "momentum": 0.9}
    setting = make_setting(flat, shape, training=training, sparsity=sparsity)
    return PruneFL(PruneFLConfig.model_validate({"name": "prunefl", **options}), setting)


def task(
    algorithm: PruneFL, flat: FlatModule, round_idx: int, state: PruneFLClient, mask: Tensor
) -> CheckedRun:
    received = ModelValues(seeded(net).values * mask, mask)
    data = random_data(10, SHAPE, 3)
    return make_run(algorithm.setting, flat, data, received=received, round_idx=round_idx, state=state)


def gradient_sum(run: CheckedRun, mask: Tensor) -> Tensor:
    """The sum of all steps' gradients, also of masked weights.

    Masked training with momentum .9 at .1, by hand.
    """
    flat = seeded(net)
    flat.values.mul_(mask)
    velocity, total = torch.zeros_like(flat.grad), torch.zeros_like(flat.grad)
    for epoch in run.batches():
        for images, labels in epoch:
            parameters = list(flat.module.parameters())
            gradients = torch.autograd.grad(cross_entropy(flat.module(images), labels), parameters)
            gradient = torch.cat([g.flatten() for g in gradients])
            total += gradient
            velocity = 0.9 * velocity + gradient * mask
            flat.values.sub_(0.1 * velocity)
    return total


def test_client_sums_squared_gradient_sums_until_an_adjustment() -> None:
    """The square of the sum over a round's six steps.

    The squares of rounds 1 and 2 are added and sent in round 2.
    """
    flat = seeded(net)
    algorithm = method(flat, adjust_every=2)
    mask = flat.layout.full_mask()
    mask[[0, 3, *range(10, 40)]] = False
    state, expected = algorithm.init_client(0), torch.zeros(flat.layout.size)
    for round_idx in (1, 2):
        run = task(algorithm, flat, round_idx, state, mask)
        expected += gradient_sum(run, mask).square()
        result = algorithm.client_update(run)
        state = result.client_state
        if round_idx == 1:
            assert len(result.payload) == 1
            assert torch.allclose(state.total, expected, rtol=1e-3, atol=1e-6)
    item = result.payload[1]
    assert isinstance(item, Dense)
    assert item.name == "squared_gradient"
    assert torch.allclose(torch.from_numpy(item.values), expected, rtol=1e-3, atol=1e-6)
    assert int(expected[~mask].count_nonzero()) == 32
    assert int(state.total.count_nonzero()) == 0


def squares_sent(algorithm: PruneFL, rounds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The squares that a client sends if it takes part only in these rounds.

    The second value has the squares of each round.
    """
    flat = seeded(net)
    state, own, result = algorithm.init_client(0), [], None
    for round_idx in rounds:
        mask = flat.layout.full_mask()
        mask[round_idx : round_idx + 20] = False
        run = task(algorithm, flat, round_idx, state, mask)
        own.append(gradient_sum(run, mask).square())
        result = algorithm.client_update(run)
        state = result.client_state
    assert result is not None
    item = result.payload[1]
    assert isinstance(item, Dense)
    return torch.from_numpy(item.values.copy()), torch.stack(own)


@pytest.mark.parametrize(
    ("rounds", "counted"),
    [
        ((1, 4, 6), (4, 6)),  # the client is absent in round 3, whose adjustment deletes the sum of round 1
        ((2, 6), (6,)),
        ((0, 1, 3), (0, 1, 3)),  # the first adjustment is at the end of round 3
        ((1, 2, 5, 7, 8, 9), (7, 8, 9)),
        ((3, 4, 6), (4, 6)),
        ((2, 9), (9,)),
    ],
)
def test_squares_are_summed_since_the_last_adjustment_only(
    rounds: tuple[int, ...], counted: tuple[int, ...]
) -> None:
    """Rounds 3, 6 and 9 adjust, with or without the client."""
    algorithm = method(seeded(net), adjust_every=3)
    sent, own = squares_sent(algorithm, rounds)
    expected = sum((own[rounds.index(r)] for r in counted), start=torch.zeros_like(sent))
    assert torch.allclose(sent, expected, rtol=1e-3, atol=1e-6)


def test_adjustments_before_a_round() -> None:
    assert [method(seeded(net), adjust_every=3).num_adjustments(r) for r in range(11)] == [
        *(0, 0, 0, 0),
        *(1, 1, 1),
        *(2, 2, 2),
        3,
    ]


def test_weight_gradients_count_as_dense_flops() -> None:
    """A step is a forward pass and two backward ones, of which that for the weights is dense: 2 operations a
    use, 20 samples, 9 positions for a convolution weight."""
    flat = seeded(net)
    algorithm = method(flat)
    mask = flat.layout.full_mask()
    mask[[0, 3, *range(10, 40)]] = False
    run = task(algorithm, flat, 1, algorithm.init_client(0), mask)
    algorithm.client_update(run)
    dense, sparse = 2 * (9 * 8 + 54), 2 * (9 * 6 + 24)
    assert run.flops.total_unmasked == run.flops.total_dense == 20 * 3 * dense
    assert run.flops.total == pytest.approx(20 * (2 * sparse + dense))


def test_times_by_hand() -> None:
    algorithm = method(seeded(net), comm_s=1.0, comp_s=0.1, local_steps=5)
    assert algorithm.times_s() == pytest.approx({"0.weight": 1 + 5 * 0.1 * 9, "2.weight": 1 + 5 * 0.1})


def test_adjustment_rounds() -> None:
    algorithm = method(seeded(net), adjust_every=3)
    assert [r for r in range(10) if algorithm.adjusts(r)] == [3, 6, 9]
    assert [r for r in range(200) if method(seeded(net)).adjusts(r)] == [50, 100, 150]


def step(
    algorithm: PruneFL,
    state: PruneFLState,
    round_idx: int,
    clients: Sequence[tuple[float, Sequence[float], Sequence[float]]],
) -> PruneFLState:
    """The server's state after clients of (samples, 10 values, 10 squares)."""
    assert state.mask is not None
    aggregator = algorithm.aggregator()
    for weight, values, squares in clients:
        aggregator.add(
            Contribution(
                weight=weight,
                client_id=0,
                values=torch.tensor(values) * state.mask,
                mask=state.mask,
                start=state.params,
                items=(Dense("squared_gradient", torch.tensor(squares).numpy()),),
            )
        )
    return algorithm.server_update(state, aggregator.finish(state.params), round_idx)


def started(algorithm: PruneFL, params: Sequence[float], mask: Sequence[int]) -> PruneFLState:
    """A state with these 8 weights and their mask. Biases are 1."""
    held = torch.tensor([*mask, 1, 1], dtype=torch.bool)
    first = algorithm.init(torch.tensor([*params, 1.0, 1.0]))
    stale = first.stale
    return PruneFLState(params=first.params * held, mask=held, initialised=True, stale=stale)


def kept(state: PruneFLState) -> list[int]:
    assert state.mask is not None
    return state.mask[:8].int().tolist()


def test_adjustment_by_hand() -> None:
    """Costs 1 each, c = .25 x 8 = 2. Active 0-3 of mean sizes 1, 2, 3, 4: half stand. Squares are averaged by
    samples, (1 x 4 + 3 x 8) / 4 = 7 at entry 0. Kept: 2, 3 with 2 + 2 of Delta, biases 0: 4 / 4. In come 7 of 5
    with 3 > 1, then 0 of 7 before it: 7 > 1, 11 / 5; 5 of 5 > 2.2, 16 / 6; 6 of 2 < 2.67 stays out."""
    algorithm = method(
        seeded(small),
        (1, 2, 2),
        adjust_every=1,
        prune_share=0.5,
        half_life=1e12,
        comm_s=1.0,
        comp_s=0.0,
        constant_share=0.25,
    )
    state = started(algorithm, [9.0] * 8, [1, 1, 1, 1, 0, 0, 0, 0])
    clients = [
        (1.0, [4.0, 8, 0, 1, 0, 0, 0, 0, 1, 1], [4.0, 0, 2, 2, 0, 5, 2, 0, 0, 0]),
        (3.0, [0.0, 0, 4, 5, 0, 0, 0, 0, 1, 1], [8.0, 0, 2, 2, 0, 5, 2, 0, 0, 0]),
    ]
    after = step(algorithm, state, 1, clients)
    assert kept(after) == [1, 0, 1, 1, 0, 1, 0, 0]
    assert after.params.tolist() == [1, 0, 3, 4, 0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("seed", range(40))
def test_no_other_mask_has_a_larger_decrease_per_second(seed: int) -> None:
    """Compares all 2^n sets of candidates by the definition of Delta / T."""
    generator = torch.Generator().manual_seed(seed)
    algorithm = method(
        seeded(small), (1, 2, 2), adjust_every=1, prune_share=0.5, constant_share=0.3, comm_s=2.0
    )
    mask = (torch.rand(8, generator=generator) < 0.6).int().tolist()
    values = torch.randn(10, generator=generator).tolist()
    squares = torch.rand(10, generator=generator).square().tolist()
    after = kept(step(algorithm, started(algorithm, [0.0] * 8, mask), 1, [(1.0, values, squares)]))
    active = sorted((i for i in range(8) if mask[i]), key=lambda i: abs(values[i]))
    must = set(active[int(len(active) * 0.5 * 0.5**1e-4 + 1e-9) :])
    time_s = 2.0 + 5 * 3.6e-8
    others = sorted(set(range(8)) - must)

    def promise(chosen: set[int]) -> float:
        gain = float(sum(squares[i] for i in chosen) + squares[8] + squares[9])
        return gain / (0.3 * 8 * time_s + len(chosen) * time_s)

    best = max((must | set(c) for n in range(len(others) + 1) for c in combinations(others, n)), key=promise)
    assert {i for i in range(8) if after[i]} == best


def test_share_of_candidates_halves_over_the_rounds() -> None:
    """.8 of 5 active weights are 4 in round 0, 2 after a half-life of 10 rounds, and 1 after two."""
    algorithm = method(seeded(small), (1, 2, 2), adjust_every=5, prune_share=0.8, half_life=10.0)
    state = started(algorithm, [1.0] * 8, [1, 1, 1, 1, 1, 0, 0, 0])
    values, squares = [1.0, 2, 3, 4, 5, 0, 0, 0, 1, 1], [0.0] * 10
    found = {r: sum(kept(step(algorithm, state, r, [(1.0, values, squares)]))) for r in (5, 10, 20, 23)}
    assert found == {5: 5 - 2, 10: 5 - 2, 20: 5 - 1, 23: 5}


@pytest.mark.parametrize(("regrow", "expected"), [("zero", 0.0), ("stale", 7.0)])
def test_regrown_weight_starts_at_the_regrow_value(regrow: str, expected: float) -> None:
    """Entry 0 is 7 when round 1 prunes it. Round 3 regrows it."""
    algorithm = method(
        seeded(small), (1, 2, 2), adjust_every=1, prune_share=0.3, half_life=1e12, regrow=regrow
    )
    state = started(algorithm, [0.0] * 8, [1] * 4 + [0] * 4)
    values, none = [7.0, 8, 9, 10, 0, 0, 0, 0, 1, 1], [0.0] * 10
    state = step(algorithm, state, 1, [(1.0, values, none)])
    assert kept(state) == [0, 1, 1, 1, 0, 0, 0, 0]
    assert state.params.tolist() == [0, 8, 9, 10, 0, 0, 0, 0, 1, 1]
    values[1] = 11.0
    state = step(algorithm, state, 2, [(1.0, values, [0.0, 1, 1, 1, *none[4:]])])
    state = step(algorithm, state, 3, [(1.0, values, [100.0, 1, 1, 1, *none[4:]])])
    assert kept(state) == [1, 1, 1, 1, 0, 0, 0, 0]
    assert state.params.tolist() == [expected, 11, 9, 10, 0, 0, 0, 0, 1, 1]


def test_level_caps_the_density_after_an_adjustment_and_may_change() -> None:
    """8 weights at level .25 in round 1, .5 in round 2 and .75 in round 3.

    In round 3 more weights than the cap must be kept.
    """
    flat = seeded(small)
    sparsity = {"level": 0.0, "schedule": {"kind": "linear", "final_level": 0.75, "end_round": 3}}
    setting = make_setting(flat, (1, 2, 2), training={"rounds": 6}, sparsity=sparsity)
    algorithm = PruneFL(
        PruneFLConfig(name="prunefl", adjust_every=1, prune_share=0.5, half_life=1e12), setting
    )
    values, squares = [8.0, 7, 6, 5, 4, 3, 2, 1, 1, 1], [1.0] * 8 + [0.0, 0.0]
    state, found = started(algorithm, values[:8], [1] * 8), []
    for round_idx in range(1, 5):
        state = step(algorithm, state, round_idx, [(1.0, values, squares)])
        found.append(sum(kept(state)))
    assert found == [6, 4, 2, 2]
    state = started(algorithm, values[:8], [1] * 8)
    assert sum(kept(step(algorithm, state, 3, [(1.0, values, squares)]))) == 4


def test_share_of_zero_removes_no_active_weight() -> None:
    run = experiment({**OPTIONS, "algorithm.prune_share": 0.0, "sparsity.level": 0.5})
    algorithm, layout = run.algorithm, run.setting.layout
    assert isinstance(algorithm, PruneFL)
    first = algorithm.init(torch.from_numpy(run.initial.copy()))
    mask = layout.expand(torch.rand(layout.num_maskable, generator=torch.Generator().manual_seed(0)) < 0.3)
    start = PruneFLState(params=first.params * mask, mask=mask, initialised=True, stale=None)
    grown = 0
    for played in play(run, start=start):
        assert played.before.mask is not None
        assert played.after.mask is not None
        assert not bool((played.before.mask & ~played.after.mask).any())
        grown += int((played.after.mask & ~played.before.mask).sum())
        assert layout.density(played.after.mask) <= 0.5
    assert grown


def test_bytes_by_the_closed_form() -> None:
    """36 + 4 (nnz + 310) both ways; in rounds 2 and 4 an item of 16 + 16 and 4 (33800 + 310) more; the mask, at
    most ceil(33800 / 8), down to those who lack it, from round 3 on."""
    rounds = play(experiment(OPTIONS))
    holders: set[int] = set()
    for played in rounds:
        assert played.before.mask is not None
        value_bytes = 4 * int(played.before.mask.sum())
        adjusts = played.round_idx in (2, 4)
        for update, downloaded in zip(played.updates, played.download_bytes, strict=True):
            assert update.buffer.nbytes == 36 + value_bytes + (32 + 4 * 34_110 if adjusts else 0)
            assert sum(s.mask_bytes for s in section_bytes(update.buffer)) == 0
            mask_bytes = downloaded - 36 - value_bytes
            lacks = played.round_idx > 2 and update.client_id not in holders
            assert 0 < mask_bytes <= 4225 if lacks else mask_bytes == 0
            holders.add(update.client_id)
        if adjusts:
            holders = set()
    assert int((~rounds[-1].after.mask).sum()) > 0  # type: ignore[operator]


@pytest.mark.parametrize("setting", [{}, {"model.name": "tests.support.fakes:normalised_net"}])
def test_rounds_before_the_first_adjustment_equal_fedavg(setting: dict[str, object]) -> None:
    idle = {"algorithm.name": "prunefl", "algorithm.initial_pruning": False}
    assert_same_params(play(experiment({**setting, **idle})), play(experiment(setting)))
    active = {**idle, "algorithm.adjust_every": 1}
    assert not torch.equal(
        play(experiment({**setting, **active}))[-1].after.params,
        play(experiment(setting))[-1].after.params,
    )


def test_explicit_densities_are_rejected() -> None:
    flat = seeded(small)
    sparsity = {"allocation": "explicit", "layer_density": {"1.weight": 0.5}}
    with rejects("sparsity.allocation", "explicit"):
        method(flat, (1, 2, 2), sparsity=sparsity)
