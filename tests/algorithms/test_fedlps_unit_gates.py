"""Gates on units: by hand, compared with the masked model, and compared with models that contain gates."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, conv2d, cross_entropy, linear

from algorithms._fedlps_unit_gates import close_units, gate_gradient
from orchestrator.models.parameters import FlatModule
from orchestrator.models.units.groups import UnitGroup
from orchestrator.models.units.submodel import KeptUnits
from orchestrator.models.units.tracing import trace_units
from tests.support.fakes import normalised_net, seeded
from tests.support.nets import residual, row_lstm
from tests.support.submodels import unit_mask

SHAPE = (1, 6, 6)
Parameters = Mapping[str, Tensor]
Gates = Mapping[str, Tensor]


def perceptron(*_: object) -> nn.Module:
    """2 inputs, 3 hidden units and 2 outputs: entries 0-5, biases 6-8, columns 9-14, biases 15-16."""
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))


def groups_of_perceptron() -> tuple[FlatModule, tuple[UnitGroup, ...]]:
    flat = seeded(perceptron)
    return flat, trace_units(flat.module, torch.zeros(2, 2))


def test_closed_unit_has_no_columns_but_keeps_its_rows() -> None:
    """Unit 1 is column 1 of the last layer: entries 10 and 13."""
    flat, groups = groups_of_perceptron()
    vector = torch.arange(1.0, 18.0)
    closed = close_units(flat.layout, groups, {"0": torch.tensor([0, 2])}, vector)
    expected = torch.arange(1.0, 18.0)
    expected[[10, 13]] = 0.0
    assert torch.equal(closed, expected)
    assert torch.equal(vector, torch.arange(1.0, 18.0))


def test_open_gates_change_nothing() -> None:
    flat, groups = groups_of_perceptron()
    assert torch.equal(close_units(flat.layout, groups, {"0": torch.arange(3)}, flat.values), flat.values)


def test_gradient_of_a_gate_by_hand() -> None:
    """The columns of the last layer are (1, 4), (2, 5) and (3, 6).

    Their gradients are (10, 1), (20, 1) and (30, 0).
    """
    flat, groups = groups_of_perceptron()
    vector, gradient = torch.full((17,), 9.0), torch.full((17,), 9.0)
    vector[9:15] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    gradient[9:15] = torch.tensor([10.0, 20.0, 30.0, 1.0, 1.0, 0.0])
    found = gate_gradient(flat.layout, groups, vector, gradient)
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


class GatedModel:
    """A model with random values, its groups, half of each group's units, and a batch."""

    def __init__(self, name: str) -> None:
        build, self.forward, sizes = NETS[name]
        rng = np.random.default_rng(3)
        self.inputs = torch.from_numpy(rng.normal(size=(7, *SHAPE)).astype(np.float32))
        self.labels = torch.from_numpy(rng.integers(0, 3, 7))
        self.flat = seeded(lambda: build(SHAPE, 3))
        self.groups = trace_units(self.flat.module, self.inputs[:2])
        self.layout, self.values = self.flat.layout, self.flat.values.clone()
        num_trainable = self.layout.num_trainable
        noise = rng.normal(scale=0.3, size=num_trainable).astype(np.float32)
        self.values[:num_trainable] += torch.from_numpy(noise)
        assert {group.name: group.num_units for group in self.groups} == sizes
        self.kept: KeptUnits = {
            name: torch.from_numpy(np.sort(rng.permutation(size)[: size // 2]))
            for name, size in sizes.items()
        }
        self.gates = {name: torch.zeros(size, dtype=torch.float64) for name, size in sizes.items()}
        for name, units in self.kept.items():
            self.gates[name][units] = 1.0
            self.gates[name].requires_grad_()

    def logits_at(self, values: Tensor) -> Tensor:
        self.flat.load(values)
        self.flat.module.train()
        logits: Tensor = self.flat.module(self.inputs)
        return logits


@pytest.mark.parametrize("name", NETS)
def test_model_with_closed_units_equals_the_masked_model(name: str) -> None:
    net = GatedModel(name)
    masked = net.logits_at(net.values * unit_mask(net.layout, net.groups, net.kept)).detach()
    closed = net.logits_at(close_units(net.layout, net.groups, net.kept, net.values)).detach()
    torch.testing.assert_close(closed, masked, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(net.logits_at(net.values), masked, atol=1e-2)


@pytest.mark.parametrize("name", NETS)
def test_gradient_equals_that_of_a_model_with_gates(name: str) -> None:
    """Autograd in float64 on a forward pass with gates, which are 1 for open and 0 for closed units."""
    net = GatedModel(name)
    cross_entropy(
        net.logits_at(close_units(net.layout, net.groups, net.kept, net.values)), net.labels
    ).backward()  # type: ignore[no-untyped-call]
    found = gate_gradient(net.layout, net.groups, net.values, net.flat.grad)

    parameters = net.layout.views(net.values.double())
    logits = net.forward(parameters, net.gates, net.inputs.double())
    cross_entropy(logits, net.labels).backward()  # type: ignore[no-untyped-call]
    for group, gates in net.gates.items():
        assert gates.grad is not None
        closed = gates.detach() == 0.0
        assert float(gates.grad[closed].abs().max()) > 1e-3
        torch.testing.assert_close(found[group].double(), gates.grad, atol=1e-5, rtol=1e-4)
