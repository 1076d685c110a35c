"""The memory of training, counted by hand."""

import pytest
from torch import nn

from orchestrator.models.memory import count_activations, training_bytes


@pytest.mark.parametrize(
    ("net", "shape", "values"),
    [
        # flattening returns a view; the other layers compute 3, 3 and 2 values
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (1, 2, 2), 8),
        # the ReLU works in place
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(inplace=True)), (1, 2, 2), 3),
        # a 3 x 3 kernel turns 6 x 6 pixels into 4 x 4, with 5 channels; pooling leaves 2 x 2
        (lambda: nn.Sequential(nn.Conv2d(2, 5, 3), nn.MaxPool2d(2), nn.Flatten()), (2, 6, 6), 5 * 16 + 5 * 4),
    ],
)
def test_every_new_value_of_a_forward_pass_counts_once(
    net: type[nn.Module], shape: tuple[int, int, int], values: int
) -> None:
    assert count_activations(net(), shape) == values


def test_memory_is_the_sum_of_weights_gradients_moments_and_activations() -> None:
    """10 weights give 10 + 10 + 10 values with momentum. 32 samples have 8 activations each. A value has 4 bytes."""
    assert training_bytes(10, 1, 8.0, 32) == 4 * (30 + 256)
    assert training_bytes(10, 0, 8.0, 32) == 4 * (20 + 256)
