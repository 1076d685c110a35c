"""Copies of modules share nothing with the original, and can contain computed tensors."""

import torch
from torch import nn

from orchestrator.models.replica import replica


def test_copy_has_equal_values_and_shares_no_tensor() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    copied = replica(net)
    with torch.no_grad():
        for tensor in (*copied.parameters(), copied[1].running_mean):
            tensor.add_(1.0)
    for name, tensor in net.state_dict().items():
        other = copied.state_dict()[name]
        assert torch.equal(other, tensor) == (name in ("1.running_var", "1.num_batches_tracked"))


def test_tied_parameters_of_the_copy_are_tied() -> None:
    net = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 4, bias=False))
    net[1].weight = net[0].weight
    copied = replica(net)
    assert copied[1].weight is copied[0].weight
    assert copied[1].weight is not net[1].weight


def test_computed_tensor_is_copied_without_its_history() -> None:
    layer = nn.Linear(3, 2)
    layer.scaled = layer.weight * 2.0  # torch cannot deep-copy a tensor with a gradient function
    copied = replica(layer)
    assert copied.scaled.grad_fn is None
    assert torch.equal(copied.scaled, layer.weight * 2.0)
    assert layer.scaled.grad_fn is not None


def test_memo_replaces_an_object_in_the_copy() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    other = nn.Parameter(torch.zeros(5, 3))
    copied = replica(net, {id(net[0].weight): other})
    assert copied[0].weight is other
    assert net[0].weight.shape == (2, 3)
