"""The adaptive server step: FedAdam and FedYogi by hand."""

import pytest
import torch
from torch import nn

from algorithms.fedadam import FedAdam
from algorithms.fedyogi import FedYogi
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.bases.adaptive_server import AdaptiveServerAlgorithm, AdaptiveServerConfig
from orchestrator.models.parameters import FlatModule
from tests.support.fakes import make_setting, seeded

METHODS = [FedAdam, FedYogi]


def made(method: type[AdaptiveServerAlgorithm], net: nn.Module | None = None) -> AdaptiveServerAlgorithm:
    flat = FlatModule(net) if net else seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 1)))
    return method(AdaptiveServerConfig(name="adaptive"), make_setting(flat, (1, 1, 2)))


def averages_of(method: type[AdaptiveServerAlgorithm], changes: list[float]) -> list[float]:
    """The first weight after each round in which the clients' mean is w + change, from w = 1."""
    algorithm = made(method)
    state = algorithm.init(torch.ones(3))
    weights = []
    for round_idx, change in enumerate(changes):
        mean = state.params.to(torch.float64) + change
        state = algorithm.server_update(state, Aggregate(mean, None, 1.0), round_idx)
        weights.append(float(state.params[0]))
    return weights


@pytest.mark.parametrize(
    ("method", "weights"), [(FedAdam, [1.095238, 1.129616]), (FedYogi, [1.095238, 1.129484])]
)
def test_two_rounds_by_hand(method: type[AdaptiveServerAlgorithm], weights: list[float]) -> None:
    """Changes +0.2 and -0.1. Round 1: m = 0.02, v = 0.0004, w = 1 + 0.1 * 0.02 / (0.02 + 0.001).

    Round 2: m = 0.008; Adam v = 0.000496, Yogi v = 0.0004 + 0.01 * 0.01 = 0.0005.
    """
    assert averages_of(method, [0.2, -0.1]) == pytest.approx(weights, abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_model_without_change_stays(method: type[AdaptiveServerAlgorithm]) -> None:
    assert averages_of(method, [0.0, 0.0, 0.0]) == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("method", METHODS)
def test_second_moment_is_never_negative(method: type[AdaptiveServerAlgorithm]) -> None:
    algorithm = made(method)
    state = algorithm.init(torch.ones(3))
    for round_idx, change in enumerate([3.0, 0.0, -1e-4, 2.0, 0.0]):
        mean = state.params.to(torch.float64) + change
        state = algorithm.server_update(state, Aggregate(mean, None, 1.0), round_idx)
        assert float(state.second.min()) >= 0.0
        assert state.second.dtype == torch.float64


@pytest.mark.parametrize("method", METHODS)
def test_running_statistics_are_averaged(method: type[AdaptiveServerAlgorithm]) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.BatchNorm1d(2))
    algorithm = made(method, net)
    state = algorithm.init(FlatModule(net).values.clone())
    mean = state.params.to(torch.float64) + 0.25
    after = algorithm.server_update(state, Aggregate(mean, None, 1.0), 0)
    num_trainable = algorithm.setting.layout.num_trainable
    assert torch.equal(after.params[num_trainable:], mean[num_trainable:].to(torch.float32))
    assert not torch.equal(after.params[:num_trainable], mean[:num_trainable].to(torch.float32))
