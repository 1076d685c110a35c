"""LotteryFL: the condition for pruning, the pruned weights, the rewind, and the overshoot of the target."""

from dataclasses import replace
from math import ceil

import pytest
import torch
from torch import Tensor

from algorithms.lotteryfl import LotteryFL, LotteryFLClient, LotteryFLConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.errors import ConfigError
from orchestrator.federation.exchange import ModelValues
from orchestrator.fleet.profiles import DeviceProfile
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import (
    TensorData,
    assert_same_params,
    experiment,
    make_run,
    make_setting,
    random_data,
    seeded,
)
from tests.support.methods import PlainMean
from tests.support.nets import batch_norm_mlp as net

SHAPE = (1, 3, 3)
TINY = DeviceProfile(name="tiny", flops_per_s=1e9, uplink_bytes_per_s=1e6, downlink_bytes_per_s=1e6)
LARGE = replace(TINY, name="large")
OPTIONS = {
    "algorithm.name": "lotteryfl",
    "algorithm.min_accuracy": 0.1,
    "data.validation_fraction": 0.3,
    "training.rounds": 6,
}


def method(flat: FlatModule, *, sparsity: dict[str, object] | None = None, **options: float) -> LotteryFL:
    training = {"batch_size": 4, "local_epochs": 2}
    setting = make_setting(
        flat, SHAPE, training=training, sparsity=sparsity, profiles=(TINY, LARGE), num_clients=4
    )
    return LotteryFL(LotteryFLConfig.model_validate({"name": "lotteryfl", **options}), setting)


def validation(flat: FlatModule, values: Tensor, num_right: int) -> TensorData:
    """Ten samples, of which the model with these values predicts a given number correctly."""
    data = random_data(10, SHAPE, 3, seed=5)
    before = flat.values.clone()
    flat.load(values)
    flat.module.eval()
    with torch.no_grad():
        labels = flat.module(data.images).argmax(dim=1)
    flat.load(before)
    labels[num_right:] = (labels[num_right:] + 1) % 3
    return TensorData(data.images, labels)


def prepared(
    *,
    num_right: int = 10,
    ticket: LotteryFLClient | None = None,
    client_id: int = 0,
    sparsity: dict[str, object] | None = None,
    **options: float,
) -> tuple[LotteryFL, CheckedRun]:
    """A client that received other values than the initial ones, under its mask."""
    flat = seeded(net)
    algorithm = method(flat, sparsity=sparsity, **options)
    ticket = ticket or algorithm.init_client(client_id)
    values = (flat.values + torch.linspace(-1, 1, flat.values.numel())).abs() * ticket.mask
    run = make_run(
        algorithm.setting,
        flat,
        random_data(8, SHAPE, 3),
        received=ModelValues(values, ticket.mask),
        client_id=client_id,
        state=ticket,
        validation=validation(flat, values, num_right),
    )
    algorithm.load(run)
    return algorithm, run


def pruned_by_lists(mask: Tensor, values: Tensor, share: float) -> Tensor:
    """Weights 0-35 and 48-59 of the 71 entries.

    Of n active weights the ceil(share (n - 1)) smallest are pruned.
    """
    after = mask.clone()
    for entries in (range(36), range(48, 60)):
        active = sorted((i for i in entries if mask[i]), key=lambda i: abs(float(values[i])))
        after[active[: ceil(share * (len(active) - 1) - 1e-9)]] = False
    return after


def test_accurate_model_is_pruned_by_magnitude_and_rewound_to_the_initial_weights() -> None:
    """Running statistics, the last 8 entries, keep their received values."""
    algorithm, run = prepared()
    expected = pruned_by_lists(run.state.mask, run.start, 0.2)
    assert int((~expected).sum()) == 7 + 3
    algorithm.on_train_start(run)
    assert torch.equal(run.state.mask, expected)
    assert run.state.remaining == pytest.approx(0.8)
    initial = torch.from_numpy(algorithm.setting.initial)
    num_trainable = run.setting.layout.num_trainable
    assert torch.equal(run.values[:num_trainable], (initial * expected)[:num_trainable])
    assert torch.equal(run.values[num_trainable:], run.start[num_trainable:])
    assert not torch.equal(initial[num_trainable:], run.start[num_trainable:])


def test_second_pruning_takes_its_share_of_the_remaining_weights() -> None:
    layout = seeded(net).layout
    mask = layout.full_mask()
    mask[torch.arange(0, 36, 2)] = False
    algorithm, run = prepared(ticket=LotteryFLClient(mask=mask, remaining=0.5), prune_share=0.5)
    expected = pruned_by_lists(mask, run.start, 0.5)
    algorithm.on_train_start(run)
    assert layout.active(run.state.mask) == {"1.weight": 18 - 9, "3.weight": 12 - 6}
    assert torch.equal(run.state.mask, expected)
    assert run.state.remaining == 0.25
    assert not bool((run.state.mask & ~mask).any())


@pytest.mark.parametrize(("num_right", "prunes"), [(0, False), (4, False), (5, False), (6, True), (10, True)])
def test_client_prunes_only_above_the_accuracy(num_right: int, prunes: bool) -> None:
    algorithm, run = prepared(num_right=num_right, min_accuracy=0.5)
    before = run.values.clone()
    algorithm.on_train_start(run)
    assert (run.state.remaining < 1.0) is prunes
    if not prunes:
        assert torch.equal(run.values, before)
        assert bool(run.state.mask.all())


@pytest.mark.parametrize(
    ("share", "level", "expected"),
    [(0.2, 0.9, 11), (0.2, 0.5, 4), (0.5, 0.75, 2), (0.2, 0.36, 2), (0.1, 0.271, 3), (0.3, 0.0, 0)],
)
def test_last_pruning_may_exceed_the_target(share: float, level: float, expected: int) -> None:
    """.8^10 = .107 is above .1, so that the last density is .8^11 = .086.

    If (1 - p)^n equals the target, pruning ends there in spite of rounding errors.
    """
    ticket, num_prunings = None, 0
    for _ in range(expected + 2):
        algorithm, run = prepared(ticket=ticket, prune_share=share, sparsity={"level": level})
        algorithm.on_train_start(run)
        num_prunings += run.state is not ticket and run.state.remaining < 1.0
        ticket = run.state
    assert num_prunings == expected
    assert ticket is not None
    assert ticket.remaining == pytest.approx((1 - share) ** expected)


def test_devices_may_have_different_targets() -> None:
    """Client 0 has a tiny device. Client 1 has a large device and stays dense."""
    sparsity = {"level": 0.9, "device_levels": {"large": 0.0}}
    for client_id, remaining in ((0, 0.8), (1, 1.0)):
        algorithm, run = prepared(client_id=client_id, sparsity=sparsity)
        algorithm.on_train_start(run)
        assert run.state.remaining == remaining


def test_weight_inside_the_mask_is_trained_even_from_exactly_0() -> None:
    """The mask freezes weights; small values do not."""
    algorithm, run = prepared(num_right=0)
    run.received.values[:36] = 0.0  # type: ignore[union-attr]
    algorithm.client_update(run)
    assert int(run.values[:36].count_nonzero()) > 30


def test_pruned_weights_stay_0_and_are_not_sent() -> None:
    algorithm, run = prepared()
    result = algorithm.client_update(run)
    assert run.num_steps == 4
    (item,) = result.payload
    assert item.mask.sum() == 48 - 10  # type: ignore[union-attr]
    assert torch.equal(run.setting.layout.expand(torch.from_numpy(item.mask)), result.client_state.mask)  # type: ignore[union-attr]


def test_client_without_validation_samples_is_named() -> None:
    algorithm, run = prepared()
    run.environment._validation = None  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="client 0") as caught:
        algorithm.on_train_start(run)
    assert caught.value.field == "data.validation_fraction"


def test_masks_only_lose_weights_at_the_configured_rate() -> None:
    """Each layer loses at most the rate's share, plus the rounding of percentiles."""
    run = experiment(OPTIONS)
    layout, masks, num_prunings = run.setting.layout, dict[int, Tensor](), 0
    for played in play(run):
        for k, ticket in played.client_states.items():
            before = masks.get(k, layout.full_mask())
            assert not bool((ticket.mask & ~before).any())
            num_prunings += not torch.equal(ticket.mask, before)
            masks[k] = ticket.mask
            assert layout.density(ticket.mask) == pytest.approx(ticket.remaining, abs=2e-3)
        for update, model in zip(played.updates, played.models, strict=True):
            assert model is not None
            assert model.mask is not None
            assert torch.equal(model.mask, played.client_states[update.client_id].mask)
    assert num_prunings >= 6


@pytest.mark.parametrize("closed", [{"algorithm.min_accuracy": 1.0}, {"sparsity.level": 0.0}])
def test_method_that_never_prunes_equals_fedavg_with_equal_weights(closed: dict[str, object]) -> None:
    never = play(experiment({**OPTIONS, **closed}))
    plain = experiment({"data.validation_fraction": 0.3, "training.rounds": 6})
    plain = replace(plain, algorithm=PlainMean(plain.algorithm.config, plain.setting))
    assert_same_params(never, play(plain))
    assert not torch.equal(never[-1].after.params, play(experiment(OPTIONS))[-1].after.params)


def test_run_ends_with_a_model_for_each_client() -> None:
    assert experiment(OPTIONS).algorithm.has_client_models
