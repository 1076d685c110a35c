"""Example inputs, and window arithmetic against torch's layers."""

import pytest
import torch
from torch import nn

from orchestrator.errors import ModelError
from orchestrator.models.shapes import TextShape, Window, example_input, input_kind, output_positions

WINDOWS = [
    Window(5),
    Window(3, stride=1),
    Window(2, stride=2),
    Window(5, padding=2),
    Window(3, stride=2, padding=1),
]


def test_example_input_is_black_images_or_texts_of_token_0() -> None:
    images, texts = example_input((3, 4, 5)), example_input(TextShape((7,)), batch_size=1)
    kinds = [input_kind(shape) for shape in ((3, 4, 5), (7,), TextShape((7,)))]
    assert kinds == ["image", "vector", "text"]
    assert torch.equal(example_input((7,)), torch.zeros(2, 7, dtype=torch.float32))
    assert torch.equal(images, torch.zeros(2, 3, 4, 5, dtype=torch.float32))
    assert torch.equal(texts, torch.zeros(1, 7, dtype=torch.int64))


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("side", [5, 6, 7, 12])
def test_output_equals_the_side_of_a_convolutions_map(window: Window, side: int) -> None:
    layer = nn.Conv2d(1, 1, window.kernel, window.stride, window.padding)
    assert window.output(side) == layer(torch.zeros(1, 1, side, side)).shape[-1]


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("output", [1, 2, 5])
def test_smallest_input_is_the_smallest_side_with_this_output(window: Window, output: int) -> None:
    smallest = window.smallest_input(output)
    assert window.output(smallest) >= output
    assert smallest == 1 or window.output(smallest - 1) < output


def test_output_positions_is_the_area_of_the_last_map() -> None:
    # 28 -> 24 -> 12 -> 8 -> 4 and 20 -> 16 -> 8 -> 4 -> 2
    windows = [Window(5), Window(2, stride=2)] * 2
    assert output_positions("net", (3, 28, 20), windows) == 4 * 2


def test_small_image_is_rejected_with_the_smallest_size() -> None:
    with pytest.raises(ModelError) as caught:
        output_positions("net", (1, 20, 15), [Window(5), Window(2, stride=2)] * 2)
    assert (caught.value.field, caught.value.value) == ("model.name", "net")
    assert "20x15" in caught.value.problem
    assert "data.image_size to 16" in caught.value.remedy
