"""A server state that is not finite is never committed."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from orchestrator.errors import RoundError
from orchestrator.federation.aggregate import Aggregate
from orchestrator.federation.algorithm import ServerState
from orchestrator.rounds.state_check import require_finite_state


@dataclass(frozen=True, kw_only=True, eq=False)
class MomentState(ServerState):
    """A state with one more tensor."""

    moment: Tensor


def test_finite_state_passes() -> None:
    require_finite_state(ServerState(params=torch.ones(3), mask=torch.ones(3, dtype=torch.bool)), 0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_tensor_that_is_not_finite_is_named_with_its_round(value: float) -> None:
    broken = torch.tensor([1.0, value])
    with pytest.raises(RoundError, match=r"round 7.*params"):
        require_finite_state(ServerState(params=broken), 7)
    with pytest.raises(RoundError, match=r"round 7.*moment"):
        require_finite_state(MomentState(params=torch.ones(2), moment=broken), 7)


def test_mean_beyond_float32_is_caught() -> None:
    """A finite float64 mean of 1e39 becomes infinite in float32."""
    mean = Aggregate(torch.tensor([1e39], dtype=torch.float64), None, 1.0)
    with pytest.raises(RoundError):
        require_finite_state(ServerState(params=mean.values.to(torch.float32)), 0)
