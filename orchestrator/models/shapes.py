"""Shapes: example inputs of a model, and the sizes that convolutions and pools leave of an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from orchestrator.errors import ModelError

#: (channels, height, width) of one image, (features,) of one vector, or TextShape((characters,)) of one text
InputShape = tuple[int, ...]
InputKind = Literal["image", "vector", "text"]

#: batch size of every evaluation and of the served model, equal because a model may use batch statistics
EVALUATION_BATCH = 250


class TextShape(tuple[int, ...]):
    """The shape of a text, (characters,). The type tells token ids from features, which also have one dimension."""

    __slots__ = ()


def input_kind(input_shape: InputShape) -> InputKind:
    """Return the kind of inputs with this shape: a text has a TextShape, a vector one dimension, an image three."""
    if isinstance(input_shape, TextShape):
        return "text"
    return "vector" if len(input_shape) == 1 else "image"


def example_input(input_shape: InputShape, batch_size: int = 2) -> Tensor:
    """Return black images, float32[B, C, H, W], vectors of zeros, float32[B, F], or texts of token 0, int64[B, T]."""
    dtype = torch.int64 if input_kind(input_shape) == "text" else torch.float32
    return torch.zeros(batch_size, *input_shape, dtype=dtype)


def random_input(input_shape: InputShape, num_classes: int) -> Tensor:
    """Return two images or vectors of random numbers, or two texts of random tokens; always the same values."""
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
        """Return the number of positions of the window along a side of `side` pixels."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1

    def smallest_input(self, output: int) -> int:
        """Return the smallest number of pixels along a side that gives `output` positions."""
        return max(1, (output - 1) * self.stride + self.kernel - 2 * self.padding)


def output_positions(name: str, input_shape: InputShape, windows: Sequence[Window]) -> int:
    """Return height times width of an image's feature map after all windows, in order.

    Raises ModelError for the model `name` when the image is smaller than a window.
    """
    smallest = 1
    for window in reversed(windows):
        smallest = window.smallest_input(smallest)
    _, height, width = input_shape
    if min(height, width) < smallest:
        raise ModelError(
            "model.name",
            name,
            f"the model needs images of at least {smallest}x{smallest} pixels, but they have {height}x{width}",
            f"use another model, or set data.image_size to {smallest} or more",
        )
    for window in windows:
        height, width = window.output(height), window.output(width)
    return height * width
