"""Models with state outside the vector that clients train; tests name them as `tests.support.stateful_models:function`.

The first ones are for images, the last two for texts.
"""

import random
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from orchestrator.models.shapes import InputShape


class Permuted(nn.Module):
    """Looks at the pixels in the order of an index tensor, of whatever kind the module keeps it as."""

    def __init__(self, num_pixels: int, num_classes: int) -> None:
        super().__init__()
        self.order: Tensor
        self.hidden, self.out = nn.Linear(num_pixels, 32), nn.Linear(32, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.out(relu(self.hidden(images.flatten(1)[:, self.order])))
        return scores


def _permuted(input_shape: InputShape, num_classes: int, order: Tensor, kind: str) -> nn.Module:
    net = Permuted(prod(input_shape), num_classes)
    if kind == "attribute":
        net.order = order
    else:
        net.register_buffer("order", order, persistent=kind == "persistent")
    return net


def torch_buffer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """The order is an int64 buffer."""
    return _permuted(input_shape, num_classes, torch.randperm(prod(input_shape)), "persistent")


def numpy_hidden_buffer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """The order is a buffer that `state_dict` does not have, drawn with numpy."""
    order = torch.from_numpy(np.random.permutation(prod(input_shape)))  # noqa: NPY002
    return _permuted(input_shape, num_classes, order, "hidden")


def python_attribute(input_shape: InputShape, num_classes: int) -> nn.Module:
    """The order is a plain attribute, drawn with Python's generator."""
    order = random.sample(range(prod(input_shape)), prod(input_shape))
    return _permuted(input_shape, num_classes, torch.tensor(order), "attribute")


def unseeded_buffer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """No seed decides the order: it differs each time."""
    order = torch.from_numpy(np.random.default_rng().permutation(prod(input_shape)))
    return _permuted(input_shape, num_classes, order, "persistent")


def unseeded_attribute(input_shape: InputShape, num_classes: int) -> nn.Module:
    """As `unseeded_buffer`, where no state names what differs."""
    order = torch.from_numpy(np.random.default_rng().permutation(prod(input_shape)))
    return _permuted(input_shape, num_classes, order, "attribute")


def frozen(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Random features that do not train, and two layers that do."""
    features = nn.Linear(prod(input_shape), 128).requires_grad_(False)
    head = nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, num_classes)
    return nn.Sequential(nn.Flatten(), features, nn.ReLU(), *head)


class Masked(nn.Module):
    """Ignores half of the hidden units, chosen at random, by adding -inf before a ReLU."""

    def __init__(self, num_pixels: int, num_classes: int) -> None:
        super().__init__()
        self.mask: Tensor
        self.hidden = nn.Linear(num_pixels, 64)
        self.out = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))
        self.register_buffer("mask", torch.zeros(64).masked_fill(torch.rand(64) < 0.5, -torch.inf))

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.out(relu(self.hidden(images.flatten(1)) + self.mask))
        return scores


def infinite_buffer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A float32 buffer of zeros and -inf."""
    return Masked(prod(input_shape), num_classes)


class Centred(nn.Module):
    """Subtracts a running mean, which its forward pass replaces by a new tensor, not in place."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(num_features))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * features.mean(0)
        return features - self.mean


def replaced_statistics(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Statistics that are assigned."""
    num_pixels = prod(input_shape)
    return nn.Sequential(nn.Flatten(), Centred(num_pixels), nn.Linear(num_pixels, num_classes))


def cumulative_norm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Batch norm that averages over all batches, as its counter says; and statistics of float64."""
    net = nn.Sequential(
        nn.BatchNorm2d(input_shape[0], momentum=None), nn.Flatten(), nn.Linear(prod(input_shape), num_classes)
    )
    net.register_buffer("scale", torch.rand(3, dtype=torch.float64))
    return net


class Tied(nn.Module):
    """Scores are products with the embedding's own rows."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(num_classes, 16), nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, num_classes, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.out(self.rnn(self.embedding(tokens))[0][:, -1])
        return scores


def tied(input_shape: InputShape, num_classes: int) -> nn.Module:
    """One matrix under two names."""
    return Tied(num_classes)


class Causal(nn.Module):
    """Attention under a mask of -inf in a buffer."""

    def __init__(self, length: int, num_classes: int) -> None:
        super().__init__()
        self.mask: Tensor
        self.tokens, self.places = nn.Embedding(num_classes, 16), nn.Embedding(length, 16)
        self.register_buffer("mask", torch.triu(torch.full((length, length), -torch.inf), 1))
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.out = nn.Linear(16, num_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
        scores: Tensor = self.out(self.encoder(x, mask=self.mask)[:, -1])
        return scores


def causal(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A small language model."""
    return Causal(input_shape[0], num_classes)
