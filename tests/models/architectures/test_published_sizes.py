"""Models from papers that are not built in, against their published sizes."""

import pytest
import torch
from torch import nn

from orchestrator.models.cost import ModelCost, measure_cost
from orchestrator.models.parameters import ParameterLayout
from orchestrator.models.registry import Builder, resolve_builder
from orchestrator.models.shapes import TextShape
from tests.support.published_nets import (
    reddit_lstm,
    resnet50,
    vgg11,
    vgg13,
    vgg16,
)

COLOUR = (3, 32, 32)


def sizes(module: nn.Module) -> tuple[int, int]:
    """Numbers of maskable entries and of other entries."""
    layout = ParameterLayout.of(module)
    return layout.num_maskable, layout.size - layout.num_maskable


def cost(module: nn.Module, input_shape: tuple[int, ...]) -> ModelCost:
    return measure_cost(module, ParameterLayout.of(module), input_shape)


def test_size_of_ssfl_resnet50() -> None:
    """Its weights and other parameters for CIFAR-10, on the meta device, which allocates no memory."""
    with torch.device("meta"):
        assert sizes(resnet50(COLOUR, 10)) == (23_467_712, 53_130)


def test_resnet50_halves_the_image_three_times_and_normalises_in_32_groups() -> None:
    model = resnet50(COLOUR, 10).eval()
    norms = [m for m in model.modules() if isinstance(m, nn.GroupNorm)]
    # one after the stem, three in each of 16 blocks, one in each of four projecting shortcuts
    assert len(norms) == 1 + 16 * 3 + 4
    assert {norm.num_groups for norm in norms} == {32}
    # maps have 32x32 pixels in the stem and the first stage, 4x4 in the last stage, and one at the classifier
    assert set(cost(model, COLOUR).positions.values()) == {32.0**2, 16.0**2, 8.0**2, 4.0**2, 1.0}


def test_published_vgg11_equals_the_built_in_vgg11() -> None:
    """Each layer has the same shape and cost. The deeper VGGs use the same code."""
    built_in, here = resolve_builder("vgg11")(COLOUR, 10), vgg11(COLOUR, 10)
    assert [p.shape for p in here.parameters()] == [p.shape for p in built_in.parameters()]
    positions = [list(cost(module, COLOUR).positions.values()) for module in (here, built_in)]
    assert positions[0] == positions[1]


@pytest.mark.parametrize(
    ("build", "input_shape", "num_classes", "num_parameters", "channels"),
    [
        (vgg13, COLOUR, 100, 9_462_180, 2 * (64 + 128 + 256 + 512 + 512)),
        (vgg16, (3, 64, 64), 200, 15_132_936, 2 * (64 + 128) + 3 * (256 + 512 + 512)),
    ],
)
def test_sizes_of_fedlps_vggs(
    build: Builder, input_shape: tuple[int, ...], num_classes: int, num_parameters: int, channels: int
) -> None:
    """A channel has a bias and two parameters of its norm, a class has a bias."""
    num_dense = 3 * channels + num_classes
    assert sizes(build(input_shape, num_classes)) == (num_parameters - num_dense, num_dense)


def test_size_of_fedlps_lstm() -> None:
    """10,000 words with 200 features, shared with the decoder; layers of 256 and 200 units with four gates."""
    weights = 10_000 * 200 + 4 * 256 * (200 + 256) + 4 * 200 * (256 + 200)
    biases = 2 * 4 * 256 + 2 * 4 * 200 + 10_000
    assert sizes(reddit_lstm((9,), 10_000)) == (weights, biases)
    assert weights + biases == 2_845_392


def test_fedlps_lstm_uses_every_weight_once_per_word() -> None:
    """The lookup is free. The model reads 9 words and predicts 9 words."""
    counted = cost(reddit_lstm((9,), 10_000), TextShape((9,)))
    assert set(counted.positions.values()) == {9.0}
    assert counted.forward_flops() == 2 * 9 * (2_000_000 + 466_944 + 364_800)
