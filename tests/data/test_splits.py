"""From loaded images to a data set: checks, hold-out, client ids, statistics and resizing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.splits import LoadedPart, Splits, assemble, channel_statistics
from orchestrator.errors import DataError


def rows(
    labels: list[Any], ids: list[Any] | None = None, size: int = 2, fill: int | None = None
) -> LoadedPart:
    images = np.zeros((len(labels), 1, size, size), dtype=np.uint8)
    images += np.arange(len(labels), dtype=np.uint8)[:, None, None, None] if fill is None else np.uint8(fill)
    return LoadedPart(images, np.array(labels), None if ids is None else np.array(ids))


def test_hold_out_is_stratified_by_class() -> None:
    """A fifth of 20, 10 and 3 images is 4, 2 and 0.6, rounded to 1. A single image is never held out."""
    dataset = assemble(DataConfig(), Splits(rows([0] * 20 + [1] * 10 + [2] * 3 + [3])))
    assert np.bincount(dataset.test_labels).tolist() == [4, 2, 1]
    assert np.bincount(dataset.train_labels).tolist() == [16, 8, 2, 1]
    together = np.concatenate([dataset.train_inputs, dataset.test_inputs])[:, 0, 0, 0]
    assert sorted(together.tolist()) == list(range(34))


def test_hold_out_is_stratified_by_client_when_there_are_client_ids() -> None:
    """A test image is held out of each client with two or more images, for any classes."""
    ids = ["b"] * 10 + ["a"] * 2 + ["c"]
    dataset = assemble(DataConfig(), Splits(rows([0, 1] * 6 + [1], ids)))
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is not None
    assert np.bincount(dataset.train_client_ids).tolist() == [1, 8, 1]
    assert np.bincount(dataset.test_client_ids).tolist() == [1, 2]


def test_hold_out_is_repeatable_and_follows_the_fraction() -> None:
    splits = Splits(rows([0, 1] * 20))
    first, second = assemble(DataConfig(), splits), assemble(DataConfig(), splits)
    assert first.fingerprint() == second.fingerprint()
    assert len(assemble(DataConfig(test_fraction=0.5), splits).test_labels) == 20


def test_client_ids_are_numbered_in_sorted_order_and_unknown_ids_are_minus_one() -> None:
    dataset = assemble(DataConfig(), Splits(rows([0, 1, 0], [30, 10, 30]), rows([0, 1, 1], [10, 20, 30])))
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is not None
    assert dataset.train_client_ids.tolist() == [1, 0, 1]
    assert dataset.test_client_ids.tolist() == [0, -1, 1]


def test_statistics_by_hand() -> None:
    """Channel 0 is half 0 and half 255: mean and std 1/2. Channel 1 is constant: std 1."""
    images = np.zeros((4, 2, 1, 1), dtype=np.uint8)
    images[:2, 0] = 255
    images[:, 1] = 51
    mean, std = channel_statistics(images)
    assert mean == pytest.approx((0.5, 0.2))
    assert std == pytest.approx((0.5, 1.0))


def test_statistics_of_floats() -> None:
    images = np.array([1.0, 3.0], dtype=np.float32).reshape(2, 1, 1, 1)
    assert channel_statistics(images) == ((2.0,), (1.0,))


def test_names_are_numbered_in_sorted_order_in_both_parts() -> None:
    dataset = assemble(DataConfig(), Splits(rows(["dog", "cat", "eel", "cat"]), rows(["eel", "cat"])))
    assert dataset.train_labels.tolist() == [1, 0, 2, 0]
    assert dataset.test_labels.tolist() == [2, 0]
    assert dataset.num_classes == 3


def test_errors_name_the_source_of_the_labels() -> None:
    train = replace(rows([1, 2]), label_source="column label of a.parquet")
    with pytest.raises(DataError, match=r"column label of a\.parquet"):
        assemble(DataConfig(), Splits(train))


def test_notes_are_kept_and_do_not_change_the_fingerprint() -> None:
    plain, noted = (assemble(DataConfig(), Splits(rows([0, 1] * 5), notes=n)) for n in ((), ("a line",)))
    assert (plain.notes, noted.notes) == ((), ("a line",))
    assert plain.fingerprint() == noted.fingerprint()


def test_published_constants_replace_statistics() -> None:
    splits = Splits(rows([0, 1] * 5), rows([0, 1]), ((0.1,), (0.2,)))
    assert (assemble(DataConfig(), splits).mean, assemble(DataConfig(), splits).std) == ((0.1,), (0.2,))


def test_configured_constants_replace_published_ones_and_statistics() -> None:
    config = DataConfig(mean=(0.5,), std=(0.25,))
    for splits in (Splits(rows([0, 1] * 5)), Splits(rows([0, 1] * 5), rows([0, 1]), ((0.1,), (0.2,)))):
        dataset = assemble(config, splits)
        assert (dataset.mean, dataset.std) == ((0.5,), (0.25,))


def test_configured_constants_need_one_number_for_each_channel() -> None:
    with pytest.raises(DataError) as caught:
        assemble(DataConfig(mean=(0.5, 0.5), std=(0.2, 0.2)), Splits(rows([0, 1] * 5)))
    assert (caught.value.field, caught.value.value) == ("data.mean", (0.5, 0.5))


def test_constants_without_a_test_part_are_rejected() -> None:
    with pytest.raises(ValueError, match="include test images"):
        Splits(rows([0, 1] * 5), None, ((0.1,), (0.2,)))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_statistics_do_not_depend_on_test_images(dtype: type) -> None:
    """Training images are 10 or 30, test images are 255 or 0: mean 20 and deviation 10 in both cases."""
    labels = np.array([0, 1] * 20)
    numbers = np.arange(40, dtype=np.float32).reshape(40, 1, 1, 1)
    found = assemble(DataConfig(test_fraction=0.5), Splits(LoadedPart(numbers, labels)))
    test_rows = found.test_inputs.ravel().astype(np.int64)
    assert len(test_rows) == 20
    scale = 255.0 if dtype is np.uint8 else 1.0
    for test_value in (0, 255):
        images = np.zeros((40, 1, 1, 1), dtype=dtype)
        images[found.train_inputs.ravel().astype(np.int64)[::2]] = 10
        images[found.train_inputs.ravel().astype(np.int64)[1::2]] = 30
        images[test_rows] = test_value
        dataset = assemble(DataConfig(test_fraction=0.5), Splits(LoadedPart(images, labels)))
        assert dataset.test_inputs.ravel().tolist() == [test_value] * 20
        assert dataset.mean == pytest.approx((20 / scale,))
        assert dataset.std == pytest.approx((10 / scale,))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_image_size_resizes_bilinearly(dtype: type) -> None:
    """A 2x2 image with columns 0 and 100 becomes 0, 25, 75, 100 (pixel centres at 1/4 and 3/4)."""
    images = np.tile(np.array([[0, 100], [0, 100]], dtype=dtype), (4, 1, 1, 1))
    dataset = assemble(DataConfig(image_size=4), Splits(LoadedPart(images, np.array([0, 1, 0, 1]))))
    assert dataset.input_shape == (1, 4, 4)
    assert dataset.train_inputs.dtype == dtype
    assert dataset.train_inputs[0, 0].tolist() == [[0, 25, 75, 100]] * 4


@pytest.mark.parametrize(
    ("splits", "problem"),
    [
        (Splits(rows([])), "no training sample"),
        (Splits(rows([0, 1]), rows([])), "no test sample"),
        (
            Splits(LoadedPart(np.zeros((2, 1, 1, 1), np.uint8), np.array([0]))),
            "2 training samples but 1 label",
        ),
        (Splits(rows([1, 2])), "the training labels are 1, 2"),
        (Splits(rows([0, 2])), "without a gap"),
        (Splits(rows([-1, 0])), "the training labels are -1, 0"),
        (Splits(rows([0.0, 1.0])), "the training labels are float64"),
        (Splits(rows([0] * 9)), "all 9 training samples"),
        (Splits(rows(["cat"] * 3), rows(["cat"])), "all 3 training samples"),
        (Splits(rows([0] * 2), rows([0, 1])), "all 2 training samples"),
        (Splits(rows(["cat", "dog"]), rows(["cow"])), "test label cow"),
        (Splits(rows(["cat", "dog"]), rows([0])), "labels are names"),
        (Splits(rows([0, 1]), rows(["cat"])), "labels are numbers"),
        (Splits(rows([0, 1]), rows([2])), "test label 2"),
        (Splits(rows([0, 1]), rows([0], size=3)), "but test inputs"),
        (Splits(rows([0, 1])), "no class"),
        (Splits(rows([0, 1], ["a", "b"])), "no client"),
        (Splits(rows([0, 1, 0, 0], ["a", "b", "b", "b"], fill=1), rows([0], [1])), "client ids"),
    ],
)
def test_unusable_parts_are_rejected(splits: Splits, problem: str) -> None:
    with pytest.raises(DataError) as caught:
        assemble(DataConfig(), splits)
    assert caught.value.field == "data.name"
    with pytest.raises(DataError) as caught:
        assemble(DataConfig(root=Path("folder")), splits)
    assert caught.value.field == "data.root"
    assert problem in str(caught.value)


def test_hold_out_of_all_images_of_a_class_is_rejected() -> None:
    """Client b has one image of each class, and one of its images is held out. Class 1 loses its only image once."""
    outcomes = []
    for position in range(2):
        labels = [0, 0, 0, 0]
        labels[2 + position] = 1
        try:
            outcomes.append(assemble(DataConfig(), Splits(rows(labels, ["a", "a", "b", "b"]))).num_classes)
        except DataError as error:
            outcomes.append(error.problem)
    num_classes, problem = sorted(outcomes, key=str)
    assert num_classes == 2
    assert "class 1 has no training sample" in str(problem)
