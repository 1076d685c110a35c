"""FedYogi: the second moment by hand. The tests of the base class check whole server steps."""

import pytest
import torch
from torch import nn

from algorithms.fedyogi import FedYogi
from orchestrator.federation.bases.adaptive_server import AdaptiveServerConfig
from tests.support.fakes import make_setting, seeded


def made(beta2: float) -> FedYogi:
    flat = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(2, 1)))
    return FedYogi(AdaptiveServerConfig(name="fedyogi", beta2=beta2), make_setting(flat, (1, 1, 2)))


def test_second_moment_changes_by_a_share_of_the_squared_change() -> None:
    """4 is below 8: 4 + 0.25 * 8 = 6. 9 is above 4: 9 - 0.25 * 4 = 8. 4 equals 4 and stays."""
    second, squared = torch.tensor([4.0, 9.0, 4.0]), torch.tensor([8.0, 4.0, 4.0])
    assert made(0.75).next_second(second, squared).tolist() == pytest.approx([6.0, 8.0, 4.0])
    assert second.tolist() == [4.0, 9.0, 4.0]


def test_small_changes_reduce_the_second_moment_slowly() -> None:
    """Adam would forget half of 100 in each round; Yogi subtracts half of the squared change 1."""
    algorithm, second = made(0.5), torch.tensor([100.0])
    for _ in range(4):
        second = algorithm.next_second(second, torch.tensor([1.0]))
    assert second.tolist() == pytest.approx([98.0])
