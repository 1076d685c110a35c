"""Dense layers: a perceptron for small images, and the head that the convolutional models share."""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from math import prod

from torch import nn

from orchestrator.models.shapes import InputShape


def dense_layers(widths: Sequence[int]) -> "OrderedDict[str, nn.Module]":
    """Return a flatten layer, then linear layers fc1, fc2, ... from each width to the next, with ReLU between them."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for depth, (num_inputs, num_outputs) in enumerate(pairwise(widths), start=1):
        layers[f"fc{depth}"] = nn.Linear(num_inputs, num_outputs)
        layers[f"fc{depth}_relu"] = nn.ReLU()
    layers.popitem()  # no ReLU after the logits
    return layers


def mlp(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build a perceptron with hidden layers of 200 and 100 units, for any image size."""
    return nn.Sequential(dense_layers((prod(input_shape), 200, 100, num_classes)))
