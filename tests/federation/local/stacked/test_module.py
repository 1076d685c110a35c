"""Stacked models against the same models one by one."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from orchestrator.federation.local.stacked.module import StackedModule
from orchestrator.models.parameters import FlatModule


def _net() -> FlatModule:
    torch.manual_seed(0)
    return FlatModule(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)))


def _batches() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(3, 5, 1, 4, 4, generator=generator), torch.randint(3, (3, 5), generator=generator)


def test_gradients_losses_and_predictions_are_those_of_single_models() -> None:
    flat, (inputs, labels) = _net(), _batches()
    rows = [flat.values * scale for scale in (1.0, 0.5, -2.0)]
    gradient = StackedModule(flat.module, flat.layout, rows).backward(inputs, labels)
    assert gradient.values.shape == (3, flat.layout.size)
    for k, row in enumerate(rows):
        flat.load(row)
        logits = flat(inputs[k])
        loss = cross_entropy(logits, labels[k])
        loss.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(gradient.values[k], flat.grad, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(gradient.losses[k], loss.detach())
        assert torch.equal(gradient.correct[k], logits.argmax(1) == labels[k])


def test_gradient_of_a_linear_model_is_the_one_derived_by_hand() -> None:
    """With logits (w1 x, w2 x) = (0, 0), both classes have probability 1/2: the gradient is (p - y) x."""
    module = nn.Linear(1, 2, bias=False)
    flat = FlatModule(module)
    rows = [torch.zeros(2), torch.zeros(2)]
    inputs, labels = torch.tensor([[[2.0]], [[6.0]]]), torch.tensor([[0], [1]])
    gradient = StackedModule(module, flat.layout, rows).backward(inputs, labels)
    assert gradient.values.tolist() == [[-1.0, 1.0], [3.0, -3.0]]
    assert gradient.losses.tolist() == pytest.approx([0.6931472, 0.6931472])


def test_new_values_are_used_and_rows_are_copies() -> None:
    flat, (inputs, _) = _net(), _batches()
    row = flat.values.clone()
    stack = StackedModule(flat.module, flat.layout, [row, row, row])
    before = stack.logits(inputs).detach()
    stack.values[1] += 1.0
    after = stack.logits(inputs).detach()
    changed = [not torch.equal(before[k], after[k]) for k in range(3)]
    assert changed == [False, True, False]
    assert torch.equal(row, flat.values)


def test_unused_parameter_has_gradient_zero() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(4, 2, bias=False), nn.Linear(3, 3, bias=False)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.used(inputs)
            return output

    flat = FlatModule(Spare())
    stack = StackedModule(flat.module, flat.layout, [flat.values, flat.values])
    gradient = stack.backward(torch.ones(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64))
    assert gradient.values[:, :8].abs().min() > 0
    assert not gradient.values[:, 8:].any()


def test_models_with_statistics_are_rejected() -> None:
    flat = FlatModule(nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2)))
    with pytest.raises(ValueError, match="statistics"):
        StackedModule(flat.module, flat.layout, [flat.values])
