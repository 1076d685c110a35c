"""Layers with other weights forward and sparse inputs backward."""

import pytest
import torch
from torch import nn

from orchestrator.federation.local.sparse_backward import add_sparse_backward, largest_entries


@pytest.mark.parametrize(
    ("share", "expected"),
    [(1.0, [3, -1, 2, 0]), (0.5, [3, 0, 2, 0]), (0.51, [3, -1, 2, 0]), (0.01, [3, 0, 0, 0])],
)
def test_largest_entries_are_kept(share: float, expected: list[float]) -> None:
    assert largest_entries(torch.tensor([3.0, -1, 2, 0]), share).tolist() == expected


def test_gradient_of_inputs_is_exact_and_that_of_weights_is_sparse() -> None:
    """y = 2 w x + b with w = (1, -2): dy/dx = 2 w. The gradient of w reads only the larger input, 3."""
    net = nn.Sequential(nn.Linear(2, 1))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0]]))
        net[0].bias.fill_(0.5)
    add_sparse_backward(net, lambda name, weight: 2.0 * weight, lambda name, weight: 0.5)
    inputs = torch.tensor([[3.0, 1.0]], requires_grad=True)
    output = net(inputs)
    output.sum().backward()
    assert output.tolist() == [[2.5]]
    assert inputs.grad is not None
    assert inputs.grad.tolist() == [[2.0, -4.0]]
    assert net[0].weight.grad.tolist() == [[6.0, 0.0]]
    assert net[0].bias.grad.tolist() == [1.0]
    net.eval()
    assert net(inputs).tolist() == [[1.5]]


def test_share_sees_the_weights_that_the_layer_uses() -> None:
    seen: dict[str, list[float]] = {}

    def share(name: str, weight: torch.Tensor) -> float:
        seen[name] = weight.flatten().tolist()
        return 1.0

    net = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(1, 1, bias=False))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(3.0)
    add_sparse_backward(net, lambda name, weight: -weight if name == "0" else weight, share)
    assert net(torch.ones(1, 1, 1, 1)).tolist() == [[-9.0]]
    assert seen == {"0": [-3.0], "2": [3.0]}
