"""The conversion of samples to tensors, and the fingerprint of a data set."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from orchestrator.data.dataset import Dataset

MakeDataset = Callable[..., Dataset]


def test_uint8_images_are_divided_by_255_and_normalised(make_dataset: MakeDataset) -> None:
    dataset = replace(make_dataset([0, 1]), mean=(0.5, 0.0), std=(0.25, 2.0))
    images = np.array([[[[0, 255]], [[51, 255]]]], dtype=np.uint8)  # [1, 2, 1, 2]
    expected = torch.tensor([[[[-2.0, 2.0]], [[0.1, 0.5]]]])
    torch.testing.assert_close(dataset.to_tensor(images), expected)


def test_float_images_are_normalised_without_scaling(make_dataset: MakeDataset) -> None:
    images = np.array([[[[0.25, 0.75]]]], dtype=np.float32)
    torch.testing.assert_close(make_dataset([0, 1]).to_tensor(images), torch.tensor([[[[-1.0, 1.0]]]]))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_read_only_images_are_copied(make_dataset: MakeDataset, dtype: type) -> None:
    images = np.ones((2, 1, 2, 2), dtype=dtype)
    images.flags.writeable = False
    result = make_dataset([0, 1]).to_tensor(
        images
    )  # torch warns about views of read-only arrays, and a warning fails the test
    result.zero_()
    assert images.sum() == 8
    assert result.dtype == torch.float32


@pytest.fixture
def texts() -> Dataset:
    """Read-only data with two training texts and one test text of three characters."""
    parts = [np.array(rows, dtype=np.uint8) for rows in ([[0, 1, 2], [2, 2, 1]], [[1, 0, 0]])]
    for part in parts:
        part.flags.writeable = False
    return Dataset(
        name="text",
        input_shape=(3,),
        num_classes=3,
        train_inputs=parts[0],
        train_labels=np.array([0, 2]),
        test_inputs=parts[1],
        test_labels=np.array([1]),
        mean=(),
        std=(),
        vocabulary="abc",
    )


def test_texts_are_copied_to_int64_tokens(texts: Dataset) -> None:
    tokens = texts.to_tensor(texts.train_inputs)
    assert tokens.dtype == torch.int64
    assert tokens.tolist() == [[0, 1, 2], [2, 2, 1]]
    tokens.zero_()
    assert texts.train_inputs.tolist() == [[0, 1, 2], [2, 2, 1]]


def test_fingerprint_depends_on_the_vocabulary(texts: Dataset) -> None:
    same, other = replace(texts), replace(texts, vocabulary="abd")
    assert texts.fingerprint() == same.fingerprint() != other.fingerprint()


def test_fingerprint_format_of_images(make_dataset: MakeDataset) -> None:
    """Existing runs can be resumed only while this format does not change."""
    dataset = make_dataset([0, 1], [1], [0, 1])
    digest = hashlib.sha256(b"(2, (0.5,), (0.25,))")
    digest.update(b"|u1(2, 1, 2, 2)" + bytes([0] * 4 + [1] * 4))
    digest.update(b"<i8(2,)" + bytes([0] * 8 + [1] + [0] * 7))
    digest.update(b"<i8(2,)" + bytes([0] * 8 + [1] + [0] * 7))
    digest.update(b"|u1(1, 1, 2, 2)" + bytes(4))
    digest.update(b"<i8(1,)" + bytes([1] + [0] * 7))
    digest.update(b"none")
    assert dataset.fingerprint() == digest.hexdigest()


def test_fingerprint_does_not_depend_on_memory_layout(make_dataset: MakeDataset) -> None:
    first, second = make_dataset([0, 1, 2]), make_dataset([0, 1, 2])
    strided = replace(second, train_inputs=np.asfortranarray(second.train_inputs))
    assert first.fingerprint() == second.fingerprint() == strided.fingerprint()
    assert len(first.fingerprint()) == 64


def test_fingerprint_depends_on_every_field(make_dataset: MakeDataset) -> None:
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
