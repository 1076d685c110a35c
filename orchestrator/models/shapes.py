"""What one input looks like, how convolutions and pools shrink an image, and the refusal of one that is too small."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from orchestrator.errors import ModelError

#: (channels, height, width) of one image, or (characters,) of one text
InputShape = tuple[int, ...]
InputKind = Literal["image", "text"]

#: samples in a batch of an evaluation and of a served model, since a model may normalise by batch statistics
EVALUATION_BATCH = 250


def input_kind(input_shape: InputShape) -> InputKind:
    """What inputs of this shape are: a text has one dimension."""
    return "text" if len(input_shape) == 1 else "image"


def example_input(input_shape: InputShape, batch_size: int = 2) -> Tensor:
    """Black images float32[B, C, H, W], or texts int64[B, T] of token 0."""
    dtype = torch.int64 if input_kind(input_shape) == "text" else torch.float32
    return torch.zeros(batch_size, *input_shape, dtype=dtype)


def random_input(input_shape: InputShape, num_classes: int) -> Tensor:
    """A batch of two like `example_input`, of random pixels or tokens, the same at every call."""
    generator, shape = torch.Generator(), (2, *input_shape)
    if input_kind(input_shape) == "text":
        return torch.randint(num_classes, shape, generator=generator)
    return torch.randn(shape, generator=generator)


@dataclass(frozen=True, slots=True)
class Window:
    """A square convolution or pooling window, in pixels; `padding` is added on both sides."""

    kernel: int
    stride: int = 1
    padding: int = 0

    def output(self, side: int) -> int:
        """Positions of the window along a side of so many pixels."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1

    def smallest_input(self, output: int) -> int:
        """Fewest pixels along a side that give so many positions."""
        return max(1, (output - 1) * self.stride + self.kernel - 2 * self.padding)


def output_positions(name: str, input_shape: InputShape, windows: Sequence[Window]) -> int:
    """Height times width of the feature map that an image leaves after the windows in order.

    Raises ModelError, in the name of the model `name`, for an image that does not fill every window once.
    """
    smallest = 1
    for window in reversed(windows):
        smallest = window.smallest_input(smallest)
    _, height, width = input_shape
    if min(height, width) < smallest:
        raise ModelError(
            "model.name",
            name,
            f"images of {height}x{width} pixels are too small for it, it needs {smallest}x{smallest}",
            f"take another model, or set data.image_size to {smallest} or more",
        )
    for window in windows:
        height, width = window.output(height), window.output(width)
    return height * width
