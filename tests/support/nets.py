"""A small residual model and a small recurrent model; tests name them as `tests.support.nets:function`."""

import torch
from torch import Tensor, nn

from orchestrator.models.shapes import InputShape


def residual(input_shape: InputShape, num_classes: int) -> nn.Module:
    """A residual model with batch norm: a main path of 6 channels, and a branch with 5 inner channels."""
    return Residual(input_shape[0], num_classes)


def row_lstm(input_shape: InputShape, num_classes: int) -> nn.Module:
    """An LSTM of 8 units that reads an image row by row."""
    return RowLSTM(input_shape[2], num_classes)


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
