"""FLOPs of a task by hand: a convolution with 18 weights at 4 positions, a linear layer with 24 weights.

That is 18 * 4 + 24 = 96 MACs a sample: 192 FLOPs forward, and 576 for a training step.
"""

import pytest
import torch
from torch import nn

from orchestrator.federation.local.flops import FlopCounter
from orchestrator.models.cost import measure_cost
from orchestrator.models.parameters import FlatModule, ParameterLayout

FLAT = FlatModule(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 3)))
COST = measure_cost(FLAT.module, FLAT.layout, (1, 4, 4))
#: entries of the 18 convolution weights, 2 biases, 24 linear weights and 3 biases
SIZE = 47
#: the model with one channel: 9 weights at 4 positions and 12 weights, 48 MACs
SUBMODEL = ParameterLayout.of(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(4, 3)))


def _mask(num_convolution: int, num_linear: int) -> torch.Tensor:
    """bool[47] with the first weights of each layer, and all biases."""
    mask = torch.ones(SIZE, dtype=torch.bool)
    mask[num_convolution:18] = False
    mask[20 + num_linear : 44] = False
    return mask


def test_costs_of_the_dense_model() -> None:
    counter = FlopCounter(COST)
    assert (counter.dense, counter.unmasked, counter.step, counter.forward) == (576, 576, 576, 192)
    assert (counter.total, counter.total_dense) == (0, 0)


def test_masked_weights_cost_nothing() -> None:
    """5 weights at 4 positions and 7 at one: 27 MACs, 162 FLOPs a step."""
    counter = FlopCounter(COST)
    counter.set_mask(FLAT.layout, _mask(5, 7))
    assert (counter.step, counter.forward, counter.unmasked, counter.dense) == (162, 54, 576, 576)
    counter.set_mask(FLAT.layout, None)
    assert counter.step == 576


def test_costs_of_a_submodel() -> None:
    counter = FlopCounter(COST)
    assert counter.of_submodel(SUBMODEL, {}) == 48 * 6
    counter.load_model(SUBMODEL)
    assert (counter.step, counter.unmasked, counter.dense) == (288, 288, 576)
    counter.load_model(None)
    assert (counter.step, counter.unmasked) == (576, 576)


def test_steps_count_the_loaded_model_and_the_dense_model() -> None:
    counter = FlopCounter(COST)
    counter.set_mask(FLAT.layout, _mask(5, 7))
    counter.add_steps(10)
    counter.add_steps(2, step=1000)
    assert counter.total == 10 * 162 + 2 * 1000
    assert counter.total_dense == 12 * 576


def test_forward_pass_is_a_third_of_a_step() -> None:
    counter = FlopCounter(COST)
    counter.set_mask(FLAT.layout, _mask(5, 7))
    counter.add_forward(4)
    assert counter.total == pytest.approx(4 * 54)
    assert counter.total_dense == pytest.approx(4 * 192)


def test_dense_gradient_is_a_masked_forward_and_a_dense_backward_pass() -> None:
    counter = FlopCounter(COST)
    counter.set_mask(FLAT.layout, _mask(5, 7))
    counter.add_dense_gradient(3)
    assert counter.total == pytest.approx(3 * (54 + 2 * 192))
    assert counter.total_dense == 3 * 576


def test_dense_weight_gradients_replace_a_third_of_each_masked_step() -> None:
    """Forward and input gradient are masked, 2 * 54 FLOPs; the weight gradient is dense, 192 FLOPs."""
    counter = FlopCounter(COST)
    counter.set_mask(FLAT.layout, _mask(5, 7))
    counter.add_steps(10)
    counter.make_weight_gradients_dense()
    assert counter.total == pytest.approx(10 * (2 * 54 + 192))
    assert counter.total_dense == 10 * 576
