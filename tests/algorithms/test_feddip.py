"""FedDIP: gradients of the pruned model on the dense one, the penalty, masks and bytes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from algorithms.feddip import FedDIP, FedDIPConfig
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from orchestrator.federation.exchange import ModelValues, unpack_model
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded

FEDDIP = {"algorithm.name": "feddip"}
SHAPE = (1, 1, 2)


def net() -> nn.Module:
    """4 weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))


def method(**options: object) -> FedDIP:
    setting = make_setting(
        seeded(net),
        SHAPE,
        sparsity={"level": 0.5},
        training={"batch_size": 4, "local_epochs": 1, "momentum": 0, "lr": 0.5, "rounds": 40},
    )
    return FedDIP(FedDIPConfig.model_validate({"name": "feddip", **options}), setting)


def test_gradient_of_the_pruned_model_moves_the_dense_model() -> None:
    """One step from w = (1, 0, 2, 0) under the mask (1, 0, 1, 0): the pruned weights take the same gradient step."""
    algorithm = method(min_penalty=0.0, max_penalty=0.0)
    mask, start = torch.tensor([1, 0, 1, 0], dtype=torch.bool), torch.tensor([1.0, 0, 2, 0])
    data = random_data(4, SHAPE, 2)
    run = make_run(algorithm.setting, seeded(net), data, received=ModelValues(start, mask))
    payload = algorithm.client_update(run).payload
    plain = make_run(algorithm.setting, seeded(net), data, received=ModelValues(start, None))
    plain.load(start, None)
    gradient = plain.dense_gradient((data.images, data.labels))
    model = unpack_model(algorithm.setting.layout, payload)
    assert model is not None
    assert model.mask is None
    assert torch.allclose(model.values, start - 0.5 * gradient, atol=1e-6)
    assert bool((model.values[~mask] != 0).all())
    assert run.values[~mask].tolist() == [0, 0]


def test_penalty_grows_in_steps() -> None:
    """Q = 4 parts of 10 rounds: 0, .1, .1 + .3 / 3 and .1 + 2 (.3) / 3."""
    algorithm = method(num_steps=4, min_penalty=0.1, max_penalty=0.4)
    assert [algorithm.penalty(r) for r in (0, 9, 10, 20, 39)] == pytest.approx([0, 0, 0.1, 0.2, 0.3])


def test_gradient_of_the_penalty_is_the_direction_of_the_layer() -> None:
    """|(3, 0, 4, 0)| = 5, so that lambda = .2 adds (.12, 0, .16, 0)."""
    algorithm = method(num_steps=2, min_penalty=0.2, max_penalty=0.2)
    run = make_run(algorithm.setting, seeded(net), random_data(4, SHAPE, 2), round_idx=39)
    run.load(torch.tensor([3.0, 0, 4, 0]), torch.tensor([1, 0, 1, 0], dtype=torch.bool))
    run.grad.zero_()
    algorithm.grad_hook(run)
    assert run.grad.tolist() == pytest.approx([0.12, 0, 0.16, 0])


def test_server_chooses_the_largest_weights_of_all_layers_at_the_interval() -> None:
    algorithm = method(interval=5)
    state = ServerState(params=torch.zeros(4), mask=torch.tensor([1, 1, 0, 0], dtype=torch.bool))
    aggregate = Aggregate(torch.tensor([1.0, -4, 3, 2], dtype=torch.float64), None, 2.0, {}, 2)
    kept = algorithm.server_update(state, aggregate, 4)
    moved = algorithm.server_update(state, aggregate, 5)
    assert (kept.params.tolist(), moved.params.tolist()) == ([1, -4, 0, 0], [0, -4, 3, 0])
    assert moved.mask is not None
    assert moved.mask.tolist() == [False, True, True, False]


def test_dense_models_are_sent_only_before_the_mask_changes() -> None:
    """P = 33,800 and U = 310; the interval is 3, so that rounds 0 and 3 are dense. The mask keeps half."""
    for played in play(experiment({**FEDDIP, "algorithm.interval": 3})):
        kept = 33_800 if played.round_idx % 3 == 0 else played.before.mask.sum() - 310  # type: ignore[union-attr]
        for update in played.updates:
            assert update.buffer.nbytes == 12 + (16 + 8) + 4 * (int(kept) + 310)


def test_density_1_without_a_penalty_equals_fedavg() -> None:
    neutral = {"sparsity.level": 0, "algorithm.min_penalty": 0, "algorithm.max_penalty": 0}
    for left, right in zip(play(experiment({**FEDDIP, **neutral})), play(experiment()), strict=True):
        assert torch.equal(left.after.params, right.after.params)


def test_masks_only_follow_the_mask_without_feedback() -> None:
    rounds = play(experiment({**FEDDIP, "algorithm.feedback": False, "algorithm.interval": 1}))
    for played in rounds:
        assert played.before.mask is not None
        assert played.after.mask is not None
        assert not bool((played.after.params != 0)[~played.before.mask].any())
    state = replace(rounds[0].after)
    assert state.mask is not None
