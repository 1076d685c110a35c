"""Sub-FedAvg: its two masks, its conditions for pruning, and its last step, compared with plain PyTorch."""

from dataclasses import replace
from math import ceil

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from algorithms.subfedavg import SubFedAvg, SubFedAvgConfig
from orchestrator.contract.checked_run import CheckedRun
from orchestrator.contract.rounds import play
from orchestrator.federation.bases.client_masks import ClientMask
from orchestrator.federation.exchange import ModelValues
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
from tests.support.nets import hidden_mlp as net

SHAPE = (1, 3, 3)
#: weights 0-35 and 40-51, biases 36-39 and 52-54
LAYERS = (range(36), range(40, 52))
OPTIONS = {
    "algorithm.name": "subfedavg",
    "algorithm.min_accuracy": 0.1,
    "data.validation_fraction": 0.3,
    "training.rounds": 12,
}


def prepared(
    *, epochs: int = 3, mask: Tensor | None = None, level: float = 0.5, right: bool = True, **options: float
) -> tuple[SubFedAvg, CheckedRun]:
    """A client whose validation labels a model that always answers 0 gets all right, or all wrong."""
    flat = seeded(net)
    training = {"batch_size": 4, "local_epochs": epochs, "lr": 0.3, "momentum": 0.9}
    setting = make_setting(flat, SHAPE, training=training, sparsity={"level": level})
    config = {"name": "subfedavg", "prune_share": 0.2, "min_accuracy": 0.0, **options}
    algorithm = SubFedAvg(SubFedAvgConfig.model_validate(config), setting)
    state = algorithm.init_client(0) if mask is None else ClientMask(mask=mask)
    data = random_data(11, SHAPE, 3)
    data = TensorData(data.images, torch.zeros_like(data.labels))
    labels = torch.zeros(10, dtype=torch.int64) if right else torch.ones(10, dtype=torch.int64)
    run = make_run(
        setting,
        flat,
        data,
        received=ModelValues(flat.values * state.mask, state.mask),
        state=state,
        validation=TensorData(random_data(10, SHAPE, 3).images, labels),
    )
    return algorithm, run


def trained(run: CheckedRun) -> list[Tensor]:
    """The received values, then the values after each epoch of plain masked training with momentum."""
    flat = seeded(net)
    assert run.received is not None
    mask, values = run.received.mask, [run.received.values.clone()]
    assert mask is not None
    parameters, keep = list(flat.module.parameters()), list(flat.layout.views(mask.float()).values())
    for parameter, kept in zip(parameters, keep, strict=True):
        parameter.data.mul_(kept)
    velocities = [torch.zeros_like(p) for p in parameters]
    for epoch in run.batches():
        for images, labels in epoch:
            gradients = torch.autograd.grad(cross_entropy(flat.module(images), labels), parameters)
            for parameter, velocity, gradient, kept in zip(
                parameters, velocities, gradients, keep, strict=True
            ):
                velocity.mul_(0.9).add_(gradient * kept)
                parameter.data.sub_(0.3 * velocity)
        values.append(torch.cat([p.detach().flatten() for p in parameters]))
    return values


def candidate(mask: Tensor, values: Tensor, share: float) -> Tensor:
    """The mask without the ceil(share (n - 1)) smallest of the n active weights of each layer."""
    after = mask.clone()
    for entries in LAYERS:
        active = sorted((i for i in entries if mask[i]), key=lambda i: abs(float(values[i])))
        after[active[: ceil(share * (len(active) - 1) - 1e-9)]] = False
    return after


def distance(left: Tensor, right: Tensor) -> float:
    return sum(sum(bool(left[i] != right[i]) for i in layer) / len(layer) for layer in LAYERS) / 2


@pytest.mark.parametrize("epochs", [1, 2, 3, 7])
@pytest.mark.parametrize("thinned", [False, True])
def test_late_mask_is_used_if_it_differs_enough_from_the_early_mask(epochs: int, thinned: bool) -> None:
    """With one epoch the early mask is that of the received model.

    A distance just above the minimum prunes, an equal distance does not.
    """
    mask = seeded(net).layout.full_mask()
    if thinned:
        mask[[0, 3, 5, 41]] = False
    _, run = prepared(epochs=epochs, mask=mask)
    values = trained(run)
    late = candidate(mask, values[-1], 0.2)
    moved = distance(candidate(mask, values[0 if epochs == 1 else 1], 0.2), late)
    assert moved > 0
    for min_distance, expected in ((moved - 1e-9, late), (moved, mask)):
        algorithm, run = prepared(epochs=epochs, mask=mask, min_distance=min_distance)
        result = algorithm.client_update(run)
        assert torch.equal(result.client_state.mask, expected)
        assert torch.allclose(run.values, values[-1] * expected, rtol=1e-4, atol=1e-6)
        assert run.mask is not None
        assert torch.equal(run.mask, expected)


@pytest.mark.parametrize("right", [True, False])
def test_inaccurate_pruned_model_is_not_used(right: bool) -> None:
    """The model was trained on zeros alone and answers 0.

    Weights that were not pruned keep their trained values.
    """
    algorithm, run = prepared(right=right, min_accuracy=0.5)
    result = algorithm.client_update(run)
    pruned = int((~result.client_state.mask).sum())
    assert pruned == ((7 + 3) if right else 0)
    if not right:
        plain, reference = prepared(right=right, level=0.0)
        plain.client_update(reference)
        assert torch.equal(run.values, reference.values)


def test_accuracy_must_exceed_the_minimum() -> None:
    algorithm, run = prepared(min_accuracy=1.0)
    assert bool(algorithm.client_update(run).client_state.mask.all())


def test_client_sends_the_pruned_model_under_its_mask() -> None:
    """A pruned weight is no zero in the average.

    If one of two clients has a weight, the average is that client's value.
    """
    algorithm, run = prepared()
    result = algorithm.client_update(run)
    model = algorithm.unpack(result.payload, run.task, result.client_state)
    assert model is not None
    assert model.mask is not None
    assert torch.equal(model.mask, result.client_state.mask)
    assert not bool(model.mask.all())
    assert not bool(model.values[~model.mask].any())


@pytest.mark.parametrize(
    ("pruned", "target", "expected"),
    [
        (0.0, 0.3, 0.1),
        (0.19, 0.3, 0.1),
        (0.2, 0.3, 0.1),
        (0.25, 0.3, 0.05),
        (0.271, 0.3, 0.029 / 0.729),
        (0.29, 0.3, 0.01 / 0.71),
        (0.0, 0.04, 0.04),
    ],
)
def test_less_is_pruned_close_to_the_target(pruned: float, target: float, expected: float) -> None:
    """If the target is closer than p = .1, p' = min(.05, (target - pruned) / (1 - pruned)).

    At .25 of a target of .3 that is min(.05, .05 / .75).
    """
    algorithm, _ = prepared(prune_share=0.1)
    assert algorithm.share(pruned, target) == pytest.approx(expected)


def test_last_pruning_uses_its_own_share() -> None:
    """12 of 48 are pruned and the target is .3: .05 / .75, but at most .05.

    ceil(.05 x 26) = 2 of 27 and ceil(.05 x 8) of 9.
    """
    mask = seeded(net).layout.full_mask()
    mask[:9] = False
    mask[40:43] = False
    _, run = prepared(mask=mask, level=0.3)
    expected = candidate(mask, trained(run)[-1], 0.05)
    algorithm, run = prepared(mask=mask, level=0.3)
    assert torch.equal(algorithm.client_update(run).client_state.mask, expected)
    assert algorithm.pruned(expected) == pytest.approx(15 / 48)


def test_client_at_its_target_prunes_no_more() -> None:
    """12 of the 48 weights, which are 12 of 55 parameters."""
    mask = seeded(net).layout.full_mask()
    mask[:12] = False
    for count_all, prunes in ((False, False), (True, True)):
        algorithm, run = prepared(mask=mask, level=0.25, count_all=count_all)
        assert algorithm.pruned(mask) == (12 / 55 if count_all else 0.25)
        assert (not torch.equal(algorithm.client_update(run).client_state.mask, mask)) is prunes


def test_clients_reach_their_target_and_never_regrow_a_weight() -> None:
    """Rounding up removes at most one weight a layer too many."""
    run = experiment({**OPTIONS, "sparsity.level": 0.25})
    layout, masks = run.setting.layout, dict[int, Tensor]()
    for played in play(run):
        for k, state in played.client_states.items():
            assert not bool((state.mask & ~masks.get(k, layout.full_mask())).any())
            masks[k] = state.mask
    pruned = [1 - layout.density(mask) for mask in masks.values()]
    assert max(pruned) <= 0.25 + 3 / layout.num_maskable
    assert sum(p > 0.24 for p in pruned) >= 2


@pytest.mark.parametrize(
    "closed", [{"algorithm.min_accuracy": 1.0}, {"sparsity.level": 0.0}, {"algorithm.min_distance": 1.0}]
)
def test_method_that_never_prunes_equals_fedavg_with_equal_weights(closed: dict[str, object]) -> None:
    short = {"data.validation_fraction": 0.3, "training.rounds": 3}
    never = play(experiment({**OPTIONS, **short, **closed}))
    plain = experiment(short)
    plain = replace(plain, algorithm=PlainMean(plain.algorithm.config, plain.setting))
    assert_same_params(never, play(plain))
    assert not torch.equal(never[-1].after.params, play(experiment({**OPTIONS, **short}))[-1].after.params)


def test_run_ends_with_a_model_for_each_client() -> None:
    assert experiment(OPTIONS).algorithm.has_client_models
