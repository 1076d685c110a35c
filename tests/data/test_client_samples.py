"""The epochs of a client over its own rows."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from orchestrator.data.client_samples import ClientSamples
from orchestrator.data.dataset import Dataset

MakeDataset = Callable[..., Dataset]
CPU = torch.device("cpu")


@pytest.fixture
def shared(make_dataset: MakeDataset) -> Dataset:
    """A data set of read-only arrays, like those in Ray's object store."""
    dataset = make_dataset([0, 1, 2, 1])
    dataset.train_inputs.flags.writeable = False
    dataset.train_labels.flags.writeable = False
    return dataset


@pytest.mark.parametrize("augment", [False, True])
def test_epoch_is_a_permutation_of_the_rows(shared: Dataset, augment: bool) -> None:
    data = ClientSamples(shared, np.array([3, 0, 2]), augment=augment, device=CPU)
    images, labels = data.epoch(np.random.default_rng(0))
    assert len(data) == 3
    assert sorted(labels.tolist()) == [0, 1, 2]
    assert images.shape == (3, 1, 2, 2)
    assert images.dtype == torch.float32


def test_images_and_labels_have_the_same_order(shared: Dataset) -> None:
    data = ClientSamples(shared, np.array([3, 0, 2]), augment=False, device=CPU)
    images, labels = data.epoch(np.random.default_rng(1))
    of_label = {1: (3 / 255 - 0.5) * 4, 0: -2.0, 2: (2 / 255 - 0.5) * 4}
    expected = torch.tensor([of_label[label] for label in labels.tolist()])
    torch.testing.assert_close(images[:, 0, 0, 0], expected)


def test_equal_streams_give_equal_epochs(shared: Dataset) -> None:
    data = ClientSamples(shared, np.arange(4), augment=True, device=CPU)
    first, second = (data.epoch(np.random.default_rng(5)) for _ in range(2))
    other = data.epoch(np.random.default_rng(6))
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[0], other[0])
