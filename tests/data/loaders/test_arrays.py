"""Named arrays as vectors and images: shapes, types, notes and rejected arrays."""

import numpy as np
import pytest

from orchestrator.data.loaders.arrays import ArraySource, finite_floats, splits_of
from orchestrator.errors import DataError

SOURCE = ArraySource("data.name", "mine.py:load", "the result", "return x and y")
LABELS = np.array([0, 1, 0])


def test_vectors_become_float32() -> None:
    splits = splits_of(SOURCE, {"x": np.array([[1, 2], [3, 4], [5, 6]]), "y": LABELS})
    assert splits.train.images.dtype == np.float32
    assert splits.train.images.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert splits.test is None


def test_images_with_many_channels_stay_as_they_are() -> None:
    x = np.arange(3 * 7 * 4 * 5).reshape(3, 7, 4, 5) % 256
    splits = splits_of(SOURCE, {"x": x, "y": LABELS})
    assert np.array_equal(splits.train.images, x)
    assert splits.notes == ("x: images of 4x5 pixels with 7 channels, [N, C, H, W]",)


def test_all_arrays_are_used_and_others_are_named() -> None:
    x = np.zeros((3, 2))
    arrays = {"x": x, "y": LABELS, "x_test": x, "y_test": LABELS, "client_ids": LABELS, "extra": x}
    splits = splits_of(SOURCE, arrays)
    assert splits.test is not None
    assert splits.train.client_ids is not None
    assert splits.test.client_ids is None
    (note,) = splits.notes
    assert note.startswith("left out of mine.py:load: extra")


def test_labels_of_another_number_are_rejected() -> None:
    with pytest.raises(DataError) as caught:
        splits_of(SOURCE, {"x": np.zeros((3, 2)), "y": LABELS[:2]})
    assert caught.value.problem == "y has shape (2,) for 3 vectors"
    assert caught.value.remedy == "give each vector one label"


def test_missing_array_is_rejected_with_the_arrays_found() -> None:
    with pytest.raises(DataError) as caught:
        splits_of(SOURCE, {"features": np.zeros((3, 2)), "y": LABELS})
    assert "the array x is missing; the result contains features, y" in caught.value.problem
    assert caught.value.remedy == "return x and y"


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([np.inf]), np.array([1e300])])
def test_values_that_are_no_finite_numbers_are_rejected(array: np.ndarray) -> None:
    with pytest.raises(DataError) as caught:
        finite_floats(SOURCE, "x", array)
    assert (caught.value.field, caught.value.value) == ("data.name", "mine.py:load")
