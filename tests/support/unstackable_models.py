"""Models that train one by one; tests name them as `tests.support.unstackable_models:function`."""

from abc import ABC, abstractmethod
from math import prod

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape


class _Net(nn.Module, ABC):
    """A linear layer after a step of the subclass."""

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.layer = nn.Linear(num_features, num_classes)
        self.register_buffer("num_passes", torch.zeros((), dtype=torch.int64), persistent=False)

    @abstractmethod
    def before(self, features: Tensor) -> Tensor:
        """The step."""

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.layer(self.before(inputs.flatten(1)))
        return output


class _Branching(_Net):
    """Python decides by the values of the activations."""

    def before(self, features: Tensor) -> Tensor:
        return features if float(self.layer(features).detach().sum()) > 0 else -features


class _Counting(_Net):
    """Every forward pass changes a buffer that does not travel."""

    def before(self, features: Tensor) -> Tensor:
        self.num_passes += 1
        return features


class _Noisy(_Net):
    """numpy draws a random number in each forward pass."""

    def before(self, features: Tensor) -> Tensor:
        return features * float(np.random.random())  # noqa: NPY002


def branching(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with control flow that depends on its values."""
    return _Branching(prod(input_shape), num_classes)


def counting(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that counts its forward passes."""
    return _Counting(prod(input_shape), num_classes)


def noisy(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that uses numpy's global generator."""
    return _Noisy(prod(input_shape), num_classes)
