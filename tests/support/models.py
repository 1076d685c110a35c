"""Models that tests name as `tests.support.models:function`."""

from math import prod

import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape


def dropout(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A net whose training draws random numbers of torch's own."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(input_shape), 16),
        nn.BatchNorm1d(16),
        nn.Dropout(0.5),
        nn.Linear(16, num_classes),
    )


def linear(input_shape: InputShape, num_classes: int) -> nn.Module:
    """One layer, which is quick to train."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), num_classes))


def shuffled(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A net that looks at the pixels in an order drawn when it is built."""
    return nn.Sequential(Shuffle(prod(input_shape)), nn.Linear(prod(input_shape), num_classes))


class Shuffle(nn.Module):
    """float32[B, ...] -> float32[B, n], columns in a random but fixed order; the order is no parameter."""

    def __init__(self, num_pixels: int) -> None:
        super().__init__()
        self.order: Tensor
        self.register_buffer("order", torch.randperm(num_pixels))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, self.order]
