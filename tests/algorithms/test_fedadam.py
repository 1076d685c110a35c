"""FedAdam: the second moment by hand. The tests of the base class check whole server steps."""

import pytest
import torch
from torch import nn

from algorithms.fedadam import FedAdam
from orchestrator.federation.bases.adaptive_server import AdaptiveServerConfig
from tests.support.fakes import make_setting, seeded


def made(beta2: float) -> FedAdam:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 1)))
    return FedAdam(AdaptiveServerConfig(name="fedadam", beta2=beta2), make_setting(flat, (1, 1, 2)))


def test_second_moment_is_the_exponential_mean_of_squared_changes() -> None:
    """0.75 * 4 + 0.25 * 8 = 5, 0.75 * 0 + 0.25 * 8 = 2 and 0.75 * 4 + 0 = 3."""
    second, squared = torch.tensor([4.0, 0.0, 4.0]), torch.tensor([8.0, 8.0, 0.0])
    assert made(0.75).next_second(second, squared).tolist() == pytest.approx([5.0, 2.0, 3.0])
    assert second.tolist() == [4.0, 0.0, 4.0]


def test_constant_change_is_the_limit_of_the_second_moment() -> None:
    """After r rounds (1 - 0.5^r) 9."""
    algorithm, second = made(0.5), torch.zeros(1)
    for round_idx in range(1, 6):
        second = algorithm.next_second(second, torch.tensor([9.0]))
        assert float(second) == pytest.approx((1 - 0.5**round_idx) * 9.0)
