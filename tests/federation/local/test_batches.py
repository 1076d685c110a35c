"""Sizes of mini-batches, by hand."""

import pytest

from orchestrator.config.training import TrainingConfig
from orchestrator.federation.local.batches import batch_sizes


@pytest.mark.parametrize(
    ("num_samples", "smallest", "drop_last", "sizes"),
    [
        (8, 1, False, [4, 4]),
        (9, 1, False, [4, 4, 1]),
        (9, 2, False, [4, 5]),
        (10, 2, False, [4, 4, 2]),
        (8, 2, True, [4, 4]),
        (9, 2, True, [4, 4]),
        (11, 1, True, [4, 4]),
        (3, 1, True, [3]),
        (3, 2, False, [3]),
        (1, 2, False, [1]),
    ],
)
def test_sizes_of_the_batches_of_an_epoch(
    num_samples: int, smallest: int, drop_last: bool, sizes: list[int]
) -> None:
    training = TrainingConfig(batch_size=4, drop_last=drop_last)
    assert batch_sizes(num_samples, training, smallest) == sizes
