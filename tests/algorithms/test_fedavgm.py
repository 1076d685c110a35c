"""FedAvgM: the velocity, computed by hand."""

import pytest
import torch
from torch import Tensor, nn

from algorithms.fedavgm import FedAvgM, FedAvgMConfig, FedAvgMState
from orchestrator.federation.aggregate import Aggregate
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import make_setting, seeded


def method(momentum: float, lr: float = 1.0, net: nn.Module | None = None) -> FedAvgM:
    flat = FlatModule(net) if net else seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 1)))
    setting = make_setting(flat, (1, 1, 2))
    return FedAvgM(FedAvgMConfig(name="fedavgm", server_momentum=momentum, server_lr=lr), setting)


def average(values: Tensor) -> Aggregate:
    return Aggregate(values.to(torch.float64), None, 1.0)


def steps_under(algorithm: FedAvgM, pseudo_gradient: float, num_rounds: int) -> list[float]:
    """The server's steps in each round if the clients' mean is always w - g."""
    state = algorithm.init(torch.full((3,), 10.0))
    steps = []
    for round_idx in range(num_rounds):
        after = algorithm.server_update(state, average(state.params - pseudo_gradient), round_idx)
        steps.append(float(state.params[0] - after.params[0]))
        state = after
    return steps


def test_two_rounds_by_hand() -> None:
    """From w = 10 and g = 1: v = 1 and w = 9. Then the mean is 7, g = 2, v = .9 + 2 = 2.9 and w = 6.1."""
    algorithm = method(0.9)
    first = algorithm.server_update(algorithm.init(torch.full((3,), 10.0)), average(torch.full((3,), 9.0)), 0)
    assert first.velocity.tolist() == [1.0] * 3
    assert first.params.tolist() == [9.0] * 3
    second = algorithm.server_update(first, average(torch.full((3,), 7.0)), 1)
    assert second.velocity.tolist() == pytest.approx([2.9] * 3, rel=1e-15)
    assert second.params.tolist() == pytest.approx([6.1] * 3, rel=1e-7)


def test_constant_pseudo_gradient_gives_steps_towards_g_over_one_minus_beta() -> None:
    """g (1 - beta^r) / (1 - beta): 0.01, 0.019, 0.0271, ... towards 0.1."""
    steps = steps_under(method(0.9), 0.01, 80)
    assert steps[:3] == pytest.approx([0.01, 0.019, 0.0271], rel=1e-3)
    assert steps[-1] == pytest.approx(0.1, rel=1e-3)


def test_server_learning_rate_scales_the_step_and_not_the_velocity() -> None:
    assert steps_under(method(0.5, lr=0.5), 0.5, 3) == pytest.approx([0.25, 0.375, 0.4375], rel=1e-5)


def test_server_takes_the_mean_without_momentum() -> None:
    algorithm, mean = method(0.0), torch.tensor([0.1, -0.7, 3e-8])
    state = FedAvgMState(params=torch.tensor([5.0, 6.0, 7.0]), velocity=torch.full((3,), 4.0).double())
    assert torch.equal(algorithm.server_update(state, average(mean), 1).params, mean)


def test_velocity_is_float64_and_the_old_state_does_not_change() -> None:
    algorithm = method(0.9)
    state = algorithm.init(torch.ones(3))
    after = algorithm.server_update(state, average(torch.zeros(3)), 0)
    assert after.velocity.dtype == torch.float64
    assert state.velocity.tolist() == [0.0] * 3
    assert state.params.tolist() == [1.0] * 3


def test_running_statistics_have_no_momentum() -> None:
    """A variance falls from 1 to .1 and stays there.

    With momentum it would be .1 - .81 < 0 one round later.
    """
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2))
    algorithm = method(0.9, net=net)
    layout = algorithm.setting.layout
    variance = next(s for s in layout.segments if s.name == "2.running_var").slice
    state = algorithm.init(FlatModule(net).values.clone())
    for round_idx in range(3):
        mean = state.params.clone()
        mean[variance] = 0.1
        state = algorithm.server_update(state, average(mean), round_idx)
        assert state.params[variance].tolist() == pytest.approx([0.1, 0.1], rel=1e-6)
