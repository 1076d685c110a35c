"""Arrays in .npz files: layouts, types, notes and rejected files."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError


def load(root: Path) -> Dataset:
    return load_dataset(DataConfig(name="npz", root=root))


def save(folder: Path, **arrays: NDArray[Any]) -> Path:
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


LABELS = np.array([0, 1] * 3)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((6, 4, 5), (1, 4, 5)),
        ((6, 1, 4, 5), (1, 4, 5)),
        ((6, 3, 4, 5), (3, 4, 5)),
        ((6, 4, 5, 3), (3, 4, 5)),
        ((6, 4, 5, 1), (1, 4, 5)),
        ((6, 3, 4, 3), (3, 4, 3)),
    ],
)
def test_image_layouts(tmp_path: Path, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    x = np.arange(np.prod(shape)).reshape(shape).astype(np.uint8)
    dataset = load(save(tmp_path, x=x, y=LABELS, x_test=x, y_test=LABELS))
    assert dataset.input_shape == expected
    channels_last = len(shape) == 4 and shape[1] == 4
    assert np.array_equal(
        dataset.train_inputs, x.transpose(0, 3, 1, 2) if channels_last else x.reshape(6, *expected)
    )
    assert dataset.train_inputs.flags.c_contiguous


def test_folder_with_one_file_is_read_and_split(tmp_path: Path) -> None:
    save(tmp_path, x=np.zeros((6, 2, 2), np.uint8), y=LABELS)
    assert len(load(tmp_path).test_labels) == 2


def test_floats_become_float32_and_other_integers_uint8(tmp_path: Path) -> None:
    x = np.linspace(-1, 1, 24).reshape(6, 2, 2)
    floats = load(save(tmp_path, x=x, y=LABELS, x_test=x, y_test=LABELS))
    assert floats.train_inputs.dtype == np.float32
    assert floats.mean == pytest.approx((0.0,), abs=1e-7)
    integers = load(save(tmp_path, x=np.full((6, 2, 2), 255, dtype=np.int64), y=LABELS))
    assert integers.train_inputs.dtype == np.uint8


def test_client_ids_are_read_in_both_parts(tmp_path: Path) -> None:
    x = np.zeros((6, 2, 2), np.uint8)
    ids = np.array(["b", "a"] * 3)
    dataset = load(
        save(tmp_path, x=x, y=LABELS, client_ids=ids, x_test=x, y_test=LABELS, client_ids_test=ids)
    )
    for found in (dataset.train_client_ids, dataset.test_client_ids):
        assert found is not None
        assert found.tolist() == [1, 0] * 3


@pytest.mark.parametrize(
    "labels",
    [
        LABELS.astype(float),
        LABELS.astype(np.float32),
        LABELS.astype(bool),
        LABELS.astype(np.uint8),
        np.array(["ant", "bee"] * 3),
    ],
)
def test_labels_and_client_ids_of_other_types(tmp_path: Path, labels: NDArray[Any]) -> None:
    x = np.zeros((6, 2, 2), np.uint8)
    dataset = load(save(tmp_path, x=x, y=labels, client_ids=labels, x_test=x, y_test=labels))
    assert dataset.train_labels.tolist() == dataset.test_labels.tolist() == [0, 1] * 3
    assert dataset.train_client_ids is not None
    assert dataset.train_client_ids.tolist() == [0, 1] * 3


def test_note_names_the_arrays_that_are_not_read(tmp_path: Path) -> None:
    x = np.zeros((6, 2, 2), np.uint8)
    file = save(tmp_path, x=x, y=LABELS, x_val=x, y_val=LABELS, client_ids_test=LABELS)
    (note,) = load(file).notes
    assert f"{file}: x_val, y_val, client_ids_test (" in note
    assert load(save(tmp_path, x=x, y=LABELS)).notes == ()


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"x": np.zeros((2, 2, 2))}, "the array y is missing; data.npz contains x"),
        ({"y": LABELS}, "the array x is missing; data.npz contains y"),
        (
            {"x": np.zeros((6, 2, 2)), "y": LABELS, "x_test": np.zeros((1, 2, 2))},
            "the array y_test is missing",
        ),
        ({"x": np.zeros(6), "y": LABELS}, "x has shape (6,)"),
        ({"x": np.zeros((6, 1, 4, 4, 2)), "y": LABELS}, "x has shape (6, 1, 4, 4, 2)"),
        ({"x": np.zeros((6, 0, 4)), "y": LABELS}, "x has shape (6, 1, 0, 4)"),
        ({"x": np.zeros((5, 2, 2)), "y": LABELS}, "y has shape (6,) for 5 images"),
        ({"x": np.zeros((6, 2, 2)), "y": LABELS[:, None]}, "y has shape (6, 1)"),
        ({"x": np.full((6, 2, 2), np.nan), "y": LABELS}, "not finite"),
        ({"x": np.full((6, 2, 2), 1e300), "y": LABELS}, "not finite"),
        ({"x": np.full((6, 2, 2), 256), "y": LABELS}, "outside 0 to 255"),
        ({"x": np.full((6, 2, 2), -1), "y": LABELS}, "outside 0 to 255"),
        ({"x": np.zeros((6, 2, 2), bool), "y": LABELS}, "x is bool"),
        (
            {"x": np.zeros((6, 2, 2)), "y": LABELS / 2},
            "array y of data.npz contains float64 values",
        ),
        ({"x": np.zeros((6, 2, 2)), "y": LABELS + 1}, "(array y of data.npz) are 1, 2"),
        (
            {"x": np.zeros((6, 2, 2)), "y": LABELS, "client_ids": LABELS / 2},
            "array client_ids of data.npz",
        ),
        (
            {"x": np.zeros((6, 2, 2)), "y": np.full(6, np.nan)},
            "array y of data.npz contains float64",
        ),
        ({"x": np.zeros((6, 2, 2)), "y": LABELS.astype("S1")}, "array y of data.npz contains |S1"),
        (
            {"x": np.zeros((6, 2, 2)), "y": LABELS.astype("M8[D]")},
            "array y of data.npz contains datetime64[D]",
        ),
        ({"x": np.zeros((6, 2, 2)), "y": np.zeros(6, int)}, "array y of data.npz"),
        ({"x": np.zeros((6, 2, 2)), "y": LABELS, "client_ids": LABELS[:3]}, "client_ids is int64(3,)"),
    ],
)
def test_unusable_arrays_are_rejected(tmp_path: Path, arrays: dict[str, Any], problem: str) -> None:
    with pytest.raises(DataError) as caught:
        load(save(tmp_path, **arrays))
    assert caught.value.field == "data.root"
    assert problem in caught.value.problem


def test_files_of_another_format_are_rejected(tmp_path: Path) -> None:
    objects = np.array([{}], dtype=object)
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "objects.npz", x=objects, y=objects)
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "torn.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:50])
    for name in ("array.npy", "objects.npz", "text.npz", "torn.npz"):
        with pytest.raises(DataError) as caught:
            load(tmp_path / name)
        assert (caught.value.field, caught.value.value) == ("data.root", tmp_path / name)


@pytest.mark.parametrize("num_files", [0, 3])
def test_folder_without_exactly_one_file_is_rejected(tmp_path: Path, num_files: int) -> None:
    for number in range(num_files):
        (tmp_path / f"{number}.npz").touch()
    with pytest.raises(DataError, match=rf"\b{num_files}\b") as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path)


def test_archive_with_large_arrays_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    np.savez_compressed(file, x=np.zeros((1000, 1, 32, 32), np.uint8), y=np.arange(1000) % 2)
    assert file.stat().st_size < 10_000
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(name="npz", root=file, max_gib=0.0009))
    assert caught.value.field == "data.max_gib"


def test_pipe_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "data.npz")
    with pytest.raises(DataError, match="not a regular file"):
        load_dataset(DataConfig(name="npz", root=tmp_path))
