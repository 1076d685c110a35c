"""Models with state outside the flat vector; tests name them as `tests.support.stateful_models:function`.

`tied` and `causal` are for texts, the other models are for images.
"""

import random
from math import prod

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from orchestrator.models.shapes import InputShape


class Permuted(nn.Module):
    """A perceptron on the pixels in the order of an index tensor, which the builder sets."""

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
    """A model whose pixel order is an int64 buffer."""
    return _permuted(input_shape, num_classes, torch.randperm(prod(input_shape)), "persistent")


def numpy_hidden_buffer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose pixel order is a buffer outside `state_dict`, chosen with numpy."""
    order = torch.from_numpy(np.random.permutation(prod(input_shape)))  # noqa: NPY002
    return _permuted(input_shape, num_classes, order, "hidden")


def python_attribute(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose pixel order is a plain attribute, chosen with Python's generator."""
    order = random.sample(range(prod(input_shape)), prod(input_shape))
    return _permuted(input_shape, num_classes, torch.tensor(order), "attribute")


def unseeded_buffer(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose pixel order is a buffer and does not depend on a seed: two builds differ."""
    order = torch.from_numpy(np.random.default_rng().permutation(prod(input_shape)))
    return _permuted(input_shape, num_classes, order, "persistent")


def unseeded_attribute(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose pixel order is an attribute and does not depend on a seed: two builds have equal states."""
    order = torch.from_numpy(np.random.default_rng().permutation(prod(input_shape)))
    return _permuted(input_shape, num_classes, order, "attribute")


def frozen(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with a frozen layer of random features, and two layers that train."""
    features = nn.Linear(prod(input_shape), 128).requires_grad_(False)
    head = nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, num_classes)
    return nn.Sequential(nn.Flatten(), features, nn.ReLU(), *head)


class Masked(nn.Module):
    """A perceptron that adds -inf to half of the hidden units, chosen at random, before a ReLU."""

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
    """A model with a float32 buffer of zeros and -inf."""
    return Masked(prod(input_shape), num_classes)


class Centred(nn.Module):
    """Subtracts a running mean. The forward pass assigns a new tensor to the mean."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(num_features))

    def forward(self, features: Tensor) -> Tensor:
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * features.mean(0)
        return features - self.mean


def replaced_statistics(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model whose forward pass assigns its statistics instead of updating them in place."""
    num_pixels = prod(input_shape)
    return nn.Sequential(nn.Flatten(), Centred(num_pixels), nn.Linear(num_pixels, num_classes))


def cumulative_norm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with batch norm that averages over all batches, and a float64 buffer."""
    net = nn.Sequential(
        nn.BatchNorm2d(input_shape[0], momentum=None), nn.Flatten(), nn.Linear(prod(input_shape), num_classes)
    )
    net.register_buffer("scale", torch.rand(3, dtype=torch.float64))
    return net


def normalised(input_shape: InputShape, num_classes: int) -> nn.Module:
    """Batch norm after a linear layer, which cannot train on a batch of one sample."""
    hidden = nn.Linear(prod(input_shape), 32)
    return nn.Sequential(nn.Flatten(), hidden, nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, num_classes))


class Tied(nn.Module):
    """An LSTM whose output layer shares its weight with the embedding."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.embedding, self.rnn = nn.Embedding(num_classes, 16), nn.LSTM(16, 16, batch_first=True)
        self.out = nn.Linear(16, num_classes, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        scores: Tensor = self.out(self.rnn(self.embedding(tokens))[0][:, -1])
        return scores


def tied(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model with one matrix under two names."""
    return Tied(num_classes)


class Causal(nn.Module):
    """A transformer layer with a causal mask of -inf in a buffer."""

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
    """A small causal language model."""
    return Causal(input_shape[0], num_classes)
