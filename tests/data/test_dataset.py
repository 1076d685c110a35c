"""Normalisation and the data fingerprint."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.data.dataset import Dataset

MakeDataset = Callable[..., Dataset]


def test_normalise_uint8_divides_by_255_first(make_dataset: MakeDataset) -> None:
    dataset = replace(make_dataset([0, 1]), mean=(0.5, 0.0), std=(0.25, 2.0))
    images = np.array([[[[0, 255]], [[51, 255]]]], dtype=np.uint8)  # [1, 2, 1, 2]
    expected = torch.tensor([[[[-2.0, 2.0]], [[0.1, 0.5]]]])
    torch.testing.assert_close(dataset.to_tensor(images), expected)


def test_normalise_takes_floats_as_they_are(make_dataset: MakeDataset) -> None:
    images = np.array([[[[0.25, 0.75]]]], dtype=np.float32)
    torch.testing.assert_close(make_dataset([0, 1]).to_tensor(images), torch.tensor([[[[-1.0, 1.0]]]]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_normalise_leaves_read_only_images_alone(make_dataset: MakeDataset, dtype: type) -> None:
    images = np.ones((2, 1, 2, 2), dtype=dtype)
    images.flags.writeable = False
    result = make_dataset([0, 1]).to_tensor(images)  # a warning would fail the test
    result.zero_()
    assert images.sum() == 8
    assert result.dtype == torch.float32


def test_fingerprint_is_of_content_alone(make_dataset: MakeDataset) -> None:
    first, second = make_dataset([0, 1, 2]), make_dataset([0, 1, 2])
    strided = replace(second, train_inputs=np.asfortranarray(second.train_inputs))
    assert first.fingerprint() == second.fingerprint() == strided.fingerprint()
    assert len(first.fingerprint()) == 64


def test_fingerprint_sees_every_field(make_dataset: MakeDataset) -> None:
    dataset = make_dataset([0, 1, 2], [0, 1, 2])
    pixels = dataset.train_inputs.copy()
    pixels[2, 0, 1, 1] += 1
    labels = np.array([0, 2, 1])
    changed = [
        replace(dataset, train_inputs=pixels),
        replace(dataset, test_inputs=pixels),
        replace(dataset, train_labels=labels),
        replace(dataset, test_labels=labels),
        replace(dataset, train_client_ids=labels),
        replace(dataset, test_client_ids=labels),
        replace(dataset, mean=(0.1,)),
        replace(dataset, std=(0.1,)),
        replace(dataset, num_classes=4),
        replace(dataset, train_inputs=dataset.train_inputs.astype(np.float32)),
        replace(dataset, train_inputs=dataset.train_inputs.reshape(3, 1, 1, 4)),
    ]
    assert len({d.fingerprint() for d in [dataset, *changed]}) == len(changed) + 1
