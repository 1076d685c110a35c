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


def normalised(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Batch norm over single values, which torch rejects for a training batch of one sample."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(input_shape), 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )


def normalised_maps(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Batch norm over the pixels of a map, of which one sample has enough."""
    return nn.Sequential(nn.BatchNorm2d(input_shape[0]), linear(input_shape, num_classes))


class Standardised(nn.Module):
    """Divides by the batch's own standard deviation, which is not a number for one sample."""

    def forward(self, features: Tensor) -> Tensor:
        return features / features.std(0) if self.training else features


def standardised(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Batch statistics of the user's own."""
    return nn.Sequential(*linear(input_shape, num_classes), Standardised())


class TwoHeads(nn.Module):
    """Returns its logits twice while it trains."""

    def __init__(self, num_pixels: int, num_classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(num_pixels, num_classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits: Tensor = self.out(images.flatten(1))
        return (logits, logits) if self.training else logits


def two_heads(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A tuple in training mode."""
    return TwoHeads(prod(input_shape), num_classes)


class InPlace(nn.Module):
    """Changes what its backward pass needs."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.exp().mul_(logits).add_(1.0).exp_().mul_(2.0)


def no_gradient(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model without a backward pass."""
    return nn.Sequential(*linear(input_shape, num_classes), InPlace())


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
