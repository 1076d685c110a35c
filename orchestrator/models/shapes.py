"""How convolutions and pools shrink an image, and the refusal of an image that is too small for a net."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.errors import ModelError

#: (channels, height, width) of one image
InputShape = tuple[int, int, int]


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
