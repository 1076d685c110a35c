"""SpaFL: gates, gradients of thresholds and weights, the pull of changed thresholds, and bytes."""

from math import exp

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, linear

from algorithms.spafl import GatedTask, SpaFL, SpaFLClient, SpaFLConfig
from orchestrator.contract.rounds import play
from orchestrator.federation.aggregate import Aggregate
from orchestrator.sparsity.payload import Dense
from tests.support.fakes import experiment, make_run, make_setting, random_data, seeded

SHAPE = (1, 1, 2)
DATA = random_data(4, SHAPE, 2)


def net() -> nn.Module:
    """2 inputs and 2 neurons: 4 weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))


def method(**options: object) -> SpaFL:
    training = {"batch_size": 4, "local_epochs": 1, "momentum": 0, "lr": 0.5}
    setting = make_setting(seeded(net), SHAPE, training=training)
    return SpaFL(SpaFLConfig.model_validate({"name": "spafl", **options}), setting)


def test_gate_is_open_above_the_threshold() -> None:
    """The mean sizes are 2 and 1.5."""
    weights = torch.tensor([1.0, -3, 2, 1])
    assert method().open_gates(weights, torch.tensor([1.9, 1.5])).tolist() == [True, True, False, False]


def test_rising_threshold_pulls_the_filter_to_zero() -> None:
    """The sums are -2 and 3, and a neuron has 2 inputs: +.4 / 2 for the first, -.1 / 2 for the second."""
    after = method().pulled(torch.tensor([1.0, -3, 2, 1]), torch.tensor([0.4, 0.1]))
    assert after.tolist() == pytest.approx([1.2, -2.8, 1.95, 0.95])


def test_convolutions_divide_by_the_size_of_the_kernel() -> None:
    """2 x 1 x 3 x 3 weights of 1: a change of .9 pulls each by .1."""
    flat = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.Flatten()))
    algorithm = SpaFL(SpaFLConfig(name="spafl"), make_setting(flat, (1, 3, 3)))
    after = algorithm.pulled(torch.ones(18), torch.tensor([0.9, 0.0]))
    assert after.tolist() == pytest.approx([0.9] * 9 + [1.0] * 9)


def test_step_follows_the_gradient_that_passes_through_the_gates() -> None:
    """The oracle is autograd with a gate that is 0 or 1 forward and the identity backward."""
    weights, thresholds = torch.tensor([1.0, -3, 2, 1]), torch.tensor([0.5, 1.6])
    algorithm = method(penalty=0.1)
    state = SpaFLClient(weights=weights, thresholds=thresholds)
    payload = (Dense("thresholds", thresholds.numpy()),)
    run = make_run(algorithm.setting, seeded(net), DATA, state=state, payload=payload)
    algorithm.load(run)
    algorithm.step(run, (DATA.images, DATA.labels))
    w = weights.view(2, 2).clone().requires_grad_()
    tau = thresholds.clone().requires_grad_()
    margin = w.abs().mean(dim=1) - tau
    gate = (margin > 0).float() + margin - margin.detach()
    loss = cross_entropy(linear(DATA.images.flatten(1), w * gate[:, None]), DATA.labels)
    (loss + 0.1 * torch.exp(-tau).sum()).backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None
    assert tau.grad is not None
    task = run.scratch(GatedTask)
    assert torch.allclose(task.weights, (w - 0.5 * w.grad).flatten(), atol=1e-6)
    assert torch.allclose(task.thresholds, tau - 0.5 * tau.grad, atol=1e-6)
    assert bool((task.weights != weights).all())


def test_closed_layer_opens_again() -> None:
    """All gates are closed, so that the thresholds return to 0 before the step: tau = lr lambda exp(0) - gates."""
    algorithm = method(penalty=0.1)
    weights = torch.zeros(4)
    state = SpaFLClient(weights=weights, thresholds=torch.full((2,), 5.0))
    payload = (Dense("thresholds", torch.full((2,), 5.0).numpy()),)
    run = make_run(algorithm.setting, seeded(net), DATA, state=state, payload=payload)
    algorithm.load(run)
    algorithm.step(run, (DATA.images, DATA.labels))
    assert run.scratch(GatedTask).thresholds.tolist() == pytest.approx([0.5 * 0.1 * exp(0.0)] * 2)


def test_server_takes_the_mean_thresholds_and_keeps_its_weights() -> None:
    algorithm = method()
    state = algorithm.init(torch.ones(4))
    mean = {"thresholds": torch.tensor([0.5, -1.0], dtype=torch.float64)}
    after = algorithm.server_update(state, Aggregate(state.params.double(), None, 2.0, mean, 2), 0)
    assert after.thresholds.tolist() == [0.5, -1.0]
    assert after.params is state.params


def test_messages_have_one_value_for_each_filter() -> None:
    """200 + 100 + 10 neurons: 12 + (16 + 12) + 4 * 310 bytes in each direction."""
    for played in play(experiment({"algorithm.name": "spafl"}), 2):
        for update, down in zip(played.updates, played.download_bytes, strict=True):
            assert update.buffer.nbytes == down == 12 + 28 + 1240


def test_thresholds_that_did_not_change_move_no_weight() -> None:
    algorithm = method(penalty=0.0)
    state = algorithm.init_client(0)
    payload = (Dense("thresholds", state.thresholds.numpy()),)
    run = make_run(algorithm.setting, seeded(net), DATA, state=state, payload=payload)
    algorithm.load(run)
    assert torch.equal(run.values, state.weights)
