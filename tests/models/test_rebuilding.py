"""Two builds of one model must have equal states and equal outputs."""

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.parameters import FlatModule
from orchestrator.models.rebuilding import require_reproducible

INPUTS = torch.arange(6.0).reshape(2, 3)


class _Scaled(nn.Module):
    """Multiplies by a number that is in no parameter and in no buffer."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.factor = factor

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * self.weight * self.factor


def _linear(value: float, buffer: Tensor | None = None) -> FlatModule:
    net = nn.Sequential(nn.Linear(3, 2))
    nn.init.constant_(net[0].weight, value)
    nn.init.zeros_(net[0].bias)
    if buffer is not None:
        net.register_buffer("table", buffer)
    return FlatModule(net)


def _problem(first: FlatModule, second: FlatModule) -> str:
    with pytest.raises(ModelError) as caught:
        require_reproducible("net.py:build", first, second, INPUTS)
    assert (caught.value.field, caught.value.value) == ("model.name", "net.py:build")
    return caught.value.problem


def test_equal_builds_are_accepted() -> None:
    require_reproducible("net.py:build", _linear(1.0), _linear(1.0), INPUTS)


def test_different_parameters_are_rejected_with_the_name_of_the_tensor() -> None:
    assert "0.weight" in _problem(_linear(1.0), _linear(2.0))


def test_nan_entries_at_the_same_positions_are_equal() -> None:
    table = torch.tensor([float("nan"), 1.0])
    require_reproducible("net.py:build", _linear(1.0, table), _linear(1.0, table.clone()), INPUTS)


def test_buffers_of_different_dtypes_are_rejected() -> None:
    ones = torch.ones(2)
    assert "table" in _problem(_linear(1.0, ones.to(torch.int64)), _linear(1.0, ones.to(torch.int32)))


def test_equal_states_with_different_outputs_are_rejected() -> None:
    assert "outputs" in _problem(FlatModule(_Scaled(1.0)), FlatModule(_Scaled(2.0)))


def test_both_models_end_in_training_mode() -> None:
    first, second = _linear(1.0), _linear(1.0)
    first.module.eval()
    require_reproducible("net.py:build", first, second, INPUTS)
    assert first.module.training
    assert second.module.training
