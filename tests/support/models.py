"""Small models of special kinds; tests name them as `tests.support.models:function`."""

from math import prod

import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape


def dropout(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with dropout, whose training uses torch's global random generator."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(input_shape), 16),
        nn.BatchNorm1d(16),
        nn.Dropout(0.5),
        nn.Linear(16, num_classes),
    )


def normalised(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with batch norm over single values. torch rejects a training batch of one sample."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(prod(input_shape), 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, num_classes),
    )


def normalised_maps(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with batch norm over the pixels of a map. A training batch of one sample is enough."""
    return nn.Sequential(nn.BatchNorm2d(input_shape[0]), linear(input_shape, num_classes))


class Standardised(nn.Module):
    """Divides by the standard deviation over the batch, which is NaN for one sample."""

    def forward(self, features: Tensor) -> Tensor:
        return features / features.std(0) if self.training else features


def standardised(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that computes batch statistics itself."""
    return nn.Sequential(*linear(input_shape, num_classes), Standardised())


class TwoHeads(nn.Module):
    """Returns its logits twice in training mode."""

    def __init__(self, num_pixels: int, num_classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(num_pixels, num_classes)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        logits: Tensor = self.out(images.flatten(1))
        return (logits, logits) if self.training else logits


def two_heads(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that returns a tuple in training mode."""
    return TwoHeads(prod(input_shape), num_classes)


class NamedOutputs(nn.Module):
    """Returns its logits and its features by name, as libraries do."""

    def __init__(self, num_pixels: int, num_classes: int) -> None:
        super().__init__()
        self.hidden, self.out = nn.Linear(num_pixels, 8), nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = self.hidden(images.flatten(1)).relu()
        return {"features": features, "logits": self.out(features)}


def named_outputs(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that returns a dictionary."""
    return NamedOutputs(prod(input_shape), num_classes)


class InPlace(nn.Module):
    """Changes a tensor in place that the backward pass needs."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.exp().mul_(logits).add_(1.0).exp_().mul_(2.0)


def no_gradient(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose backward pass fails."""
    return nn.Sequential(*linear(input_shape, num_classes), InPlace())


def linear(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A linear model, which trains quickly."""
    return nn.Sequential(nn.Flatten(), nn.Linear(prod(input_shape), num_classes))


def shuffled(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A linear model on shuffled pixels; the order is random and chosen when the model is built."""
    return nn.Sequential(Shuffle(prod(input_shape)), nn.Linear(prod(input_shape), num_classes))


class Shuffle(nn.Module):
    """Maps float32[B, ...] to float32[B, n], with columns in a random but fixed order, which is a buffer."""

    def __init__(self, num_pixels: int) -> None:
        super().__init__()
        self.order: Tensor
        self.register_buffer("order", torch.randperm(num_pixels))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, self.order]
