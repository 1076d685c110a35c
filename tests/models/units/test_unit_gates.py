"""The gradient of a gate on a unit's outputs is a sum over the layers that consume the unit."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy, linear

from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import unit_sums
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import normalised_net, seeded
from tests.support.nets import residual, row_lstm

SHAPE = (1, 6, 6)
Parameters = Mapping[str, Tensor]
Gates = Mapping[str, Tensor]


def perceptron(*_: object) -> nn.Module:
    """2 inputs, 3 hidden units and 2 outputs: entries 0-5, biases 6-8, columns 9-14, biases 15-16."""
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


def groups_of_perceptron() -> tuple[FlatModule, tuple[UnitGroup, ...]]:
    flat = seeded(perceptron)
    return flat, trace_units(flat.module, torch.zeros(2, 2))


def test_gradient_of_a_gate_by_hand() -> None:
    """The columns of the last layer are (1, 4), (2, 5) and (3, 6).

    Their gradients are (10, 1), (20, 1) and (30, 0).
    """
    flat, groups = groups_of_perceptron()
    vector, gradient = torch.full((17,), 9.0), torch.full((17,), 9.0)
    vector[9:15] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    gradient[9:15] = torch.tensor([10.0, 20.0, 30.0, 1.0, 1.0, 0.0])
    found = unit_sums(flat.layout, groups, vector * gradient, "input")
    assert {name: slopes.tolist() for name, slopes in found.items()} == {"0": [14.0, 45.0, 90.0]}


def gated_residual(p: Parameters, g: Gates, x: Tensor) -> Tensor:
    """Gates apply to the inputs of layers on the residual stream, but not to the sums."""
    stream, inner = g["stem"][:, None, None], g["inner"][:, None, None]
    norm = batch_norm(
        conv2d(x, p["stem.weight"], p["stem.bias"], padding=1),
        None,
        None,
        p["norm.weight"],
        p["norm.bias"],
        True,
    )
    x = torch.relu(norm)
    hidden = torch.relu(conv2d(x * stream, p["inner.weight"], p["inner.bias"], padding=1))
    x = torch.relu(x + conv2d(hidden * inner, p["outer.weight"], p["outer.bias"]))
    return linear(x.mean((2, 3)) * g["stem"], p["head.weight"], p["head.bias"])


def gated_lstm(p: Parameters, g: Gates, x: Tensor) -> Tensor:
    """The cell step by step. The next step receives the gated state."""
    hidden = cell = torch.zeros(len(x), 8, dtype=torch.float64)
    for line in x.flatten(1, 2).unbind(1):
        into = linear(line, p["lstm.weight_ih_l0"], p["lstm.bias_ih_l0"])
        into = into + linear(hidden * g["lstm"], p["lstm.weight_hh_l0"], p["lstm.bias_hh_l0"])
        take, keep, new, give = into.chunk(4, dim=1)
        cell = keep.sigmoid() * cell + take.sigmoid() * new.tanh()
        hidden = give.sigmoid() * cell.tanh()
    return linear(hidden * g["lstm"], p["head.weight"], p["head.bias"])


def gated_convolution(p: Parameters, g: Gates, x: Tensor) -> Tensor:
    """A channel has one column of the dense layer for each pixel."""
    x = conv2d(x, p["0.weight"], p["0.bias"])
    x = torch.relu(batch_norm(x, None, None, p["1.weight"], p["1.bias"], True))
    return linear((x * g["0"][:, None, None]).flatten(1), p["4.weight"], p["4.bias"])


Gated = Callable[[Parameters, Gates, Tensor], Tensor]
NETS: dict[str, tuple[Callable[..., nn.Module], Gated, dict[str, int]]] = {
    "residual": (residual, gated_residual, {"stem": 6, "inner": 5}),
    "lstm": (row_lstm, gated_lstm, {"lstm": 8}),
    "convolution": (normalised_net, gated_convolution, {"0": 4}),
}


@pytest.mark.parametrize("name", NETS)
def test_sum_over_consumers_equals_the_gradient_of_a_gate(name: str) -> None:
    """Autograd in float64 on a forward pass with gates, which are all 1."""
    build, forward, sizes = NETS[name]
    rng = np.random.default_rng(3)
    inputs = torch.from_numpy(rng.normal(size=(7, *SHAPE)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 3, 7))
    flat = seeded(lambda: build(SHAPE, 3))
    groups = trace_units(flat.module, inputs[:2])
    assert {group.name: group.num_units for group in groups} == sizes
    values = flat.values.clone()
    num_trainable = flat.layout.num_trainable
    values[:num_trainable] += torch.from_numpy(rng.normal(scale=0.3, size=num_trainable).astype(np.float32))

    flat.load(values)
    flat.module.train()
    cross_entropy(flat.module(inputs), labels).backward()  # type: ignore[no-untyped-call]
    product = torch.zeros_like(values)
    product[:num_trainable] = flat.grad * values[:num_trainable]
    found = unit_sums(flat.layout, groups, product, "input")

    gates = {name: torch.ones(size, dtype=torch.float64, requires_grad=True) for name, size in sizes.items()}
    logits = forward(flat.layout.views(values.double()), gates, inputs.double())
    cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
    for group, gate in gates.items():
        assert gate.grad is not None
        assert float(gate.grad.abs().max()) > 1e-3
        torch.testing.assert_close(found[group].double(), gate.grad, atol=1e-5, rtol=1e-4)
