"""A linear model, whose cross-entropy is convex in its weights."""

from collections import OrderedDict
from math import prod

from torch import nn

from orchestrator.models.shapes import InputShape


def linear(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Build multinomial logistic regression on the pixels of an image.

    On data that a linear model separates, the infimum of the loss is 0.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    layers["fc"] = nn.Linear(prod(input_shape), num_classes)
    return nn.Sequential(layers)
