"""What training takes in memory, counted by hand."""

import pytest
from torch import nn

from orchestrator.models.memory import count_activations, training_bytes


@pytest.mark.parametrize(
    ("net", "shape", "values"),
    [
        # flattening is a view; 3, 3 and 2 values are made
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (1, 2, 2), 8),
        # in place nothing is made
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(inplace=True)), (1, 2, 2), 3),
        # a 3 x 3 kernel leaves 4 x 4 of 6 x 6, of 5 channels; pooling makes 2 x 2
        (lambda: nn.Sequential(nn.Conv2d(2, 5, 3), nn.MaxPool2d(2), nn.Flatten()), (2, 6, 6), 5 * 16 + 5 * 4),
    ],
)
def test_every_value_that_a_forward_pass_makes_counts_once(
    net: type[nn.Module], shape: tuple[int, int, int], values: int
) -> None:
    assert count_activations(net(), shape) == values


def test_weights_gradients_moments_and_activations_are_held_at_once() -> None:
    """10 weights: 10 + 10 + 10 with momentum; 8 values of each of 32 samples; 4 bytes each."""
    assert training_bytes(10, 1, 8.0, 32) == 4 * (30 + 256)
    assert training_bytes(10, 0, 8.0, 32) == 4 * (20 + 256)
