"""Small models: three that tests name as `tests.support.nets:function`, and three for unit tests of methods."""

import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape


def residual(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A residual model with batch norm: a main path of 6 channels, and a branch with 5 inner channels."""
    return Residual(input_shape[0], num_classes)


def row_lstm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """An LSTM of 8 units that reads an image row by row."""
    return RowLSTM(input_shape[2], num_classes)


def two_outputs(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A model that returns its logits by name, next to an output of 5 numbers from its last layer."""
    return TwoOutputs(input_shape[0] * input_shape[1] * input_shape[2], num_classes)


def hidden_mlp() -> nn.Module:
    """9 inputs, 4 hidden units and 3 classes: weights 0-35, biases 36-39, weights 40-51, biases 52-54."""
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.ReLU(), nn.Linear(4, 3))


def batch_norm_mlp() -> nn.Module:
    """9 inputs, 4 hidden units with batch norm and 3 classes: 63 parameters and 8 running statistics."""
    return nn.Sequential(nn.Flatten(), nn.Linear(9, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def small_cnn() -> nn.Module:
    """36 and 216 weights, at entries 0-35 and 40-255 of the flat vector; uniform level .5 keeps 18 and 108."""
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6))


class Residual(nn.Module):
    """stem -> norm -> x + outer(inner(x)) -> mean over pixels -> head."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(num_inputs, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.inner = nn.Conv2d(6, 5, 3, padding=1)
        self.outer = nn.Conv2d(5, 6, 1)
        self.head = nn.Linear(6, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """float32[B, C, H, W] -> float32[B, num_classes]."""
        stream = torch.relu(self.norm(self.stem(images)))
        stream = torch.relu(stream + self.outer(torch.relu(self.inner(stream))))
        logits: Tensor = self.head(stream.mean((2, 3)))
        return logits


class RowLSTM(nn.Module):
    """An LSTM over the rows of an image, and a linear layer on its last output."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(num_inputs, 8, batch_first=True)
        self.head = nn.Linear(8, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """float32[B, 1, H, W] -> float32[B, num_classes]."""
        logits: Tensor = self.head(self.lstm(images.flatten(1, 2))[0][:, -1])
        return logits


class TwoOutputs(nn.Module):
    """A hidden layer, the logits, and a further linear layer that no loss reaches."""

    def __init__(self, num_inputs: int, num_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(num_inputs, 12)
        self.logits = nn.Linear(12, num_classes)
        self.further = nn.Linear(12, 5)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """float32[B, C, H, W] -> `logits` float32[B, num_classes] and `further` float32[B, 5]."""
        hidden = torch.relu(self.hidden(images.flatten(1)))
        return {"further": self.further(hidden), "logits": self.logits(hidden)}
