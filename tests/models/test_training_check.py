"""A model that cannot be trained is rejected, and the smallest batch is found with one step on a copy."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from orchestrator.errors import ModelError
from orchestrator.models.training_check import smallest_batch
from tests.support.submodels import Forward

INPUTS = torch.linspace(-1.0, 1.0, 6).reshape(2, 3)


def _smallest(module: nn.Module) -> int:
    return smallest_batch("net.py:build", module, INPUTS, 4)


@pytest.mark.parametrize(
    ("layers", "smallest"),
    [
        ([], 1),
        ([nn.LayerNorm(5)], 1),
        ([nn.BatchNorm1d(5)], 2),
        ([nn.BatchNorm1d(5, track_running_stats=False)], 2),
    ],
)
def test_smallest_batch_is_two_with_batch_statistics(layers: list[nn.Module], smallest: int) -> None:
    assert _smallest(nn.Sequential(nn.Linear(3, 5), *layers, nn.Linear(5, 4))) == smallest


def test_batch_of_one_must_be_finite_if_the_batch_of_two_is() -> None:
    """With one sample the standard deviation is not a number, which raises no error."""
    net = Forward(lambda m, x: m.fc((x - x.mean(0)) / x.std(0, correction=0)), fc=nn.Linear(3, 4))
    assert _smallest(net) == 2


def test_model_whose_outputs_are_never_finite_accepts_one_sample() -> None:
    assert _smallest(Forward(lambda m, x: m.fc(x) / 0.0, fc=nn.Linear(3, 4))) == 1


def _raises(m: nn.Module, x: Tensor) -> Tensor:
    raise ArithmeticError("in forward")


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (_raises, "ArithmeticError"),
        (lambda m, x: m.fc(x)[:, :3], "(2, 3)"),
        (lambda m, x: (m.fc(x), x), "tuple"),
        (lambda m, x: m.fc(x).detach(), "backward"),
    ],
    ids=["error", "other shape", "two outputs", "no gradient"],
)
def test_untrainable_model_is_rejected(function: Callable[..., Tensor], named: str) -> None:
    with pytest.raises(ModelError) as caught:
        _smallest(Forward(function, fc=nn.Linear(3, 4)))
    assert (caught.value.field, caught.value.value) == ("model.name", "net.py:build")
    assert named in caught.value.problem


def test_check_changes_neither_the_module_nor_the_global_generator() -> None:
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Dropout(), nn.Linear(5, 4)).eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    generator = torch.get_rng_state()
    _smallest(net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not net.training
    assert torch.equal(torch.get_rng_state(), generator)
