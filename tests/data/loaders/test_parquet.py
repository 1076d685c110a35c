"""Parquet files in the Hugging Face image format: columns, types and rejected files."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError

Cell = dict[str, Any] | None


def cell(value: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(np.full((2, 3), value, dtype=np.uint8)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def write(file: Path, images: list[Cell], **columns: list[Any]) -> Path:
    image_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    pyarrow.parquet.write_table(pyarrow.table({"img": pyarrow.array(images, image_type)} | columns), file)
    return file


def load(root: Path, client_column: str | None = None, label_column: str | None = None) -> Dataset:
    return load_dataset(
        DataConfig(name="parquet", root=root, client_column=client_column, label_column=label_column)
    )


def test_folder_with_two_training_files_and_a_test_file(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", [cell(0), cell(1)], label=[0, 1])
    write(tmp_path / "train-00001-of-00002.parquet", [cell(2)], label=[0])
    write(tmp_path / "test.parquet", [cell(9)], label=[1])
    dataset = load(tmp_path)
    assert dataset.train_inputs[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert dataset.train_labels.tolist() == [0, 1, 0]
    assert dataset.test_inputs[:, 0, 0, 0].tolist() == [9]
    assert dataset.input_shape == (1, 2, 3)
    assert dataset.mean == pytest.approx((1 / 255,))
    assert dataset.train_client_ids is None


def test_single_file_is_split(tmp_path: Path) -> None:
    file = write(tmp_path / "all.parquet", [cell(i) for i in range(10)], label=[0, 1] * 5)
    dataset = load(file)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (8, 2)


@pytest.mark.parametrize("ids", [["z", "a", "z", "a"], [70, 5, 70, 5]])
def test_client_column_is_read(tmp_path: Path, ids: list[Any]) -> None:
    write(tmp_path / "train.parquet", [cell(i) for i in range(4)], label=[0, 0, 1, 1], writer=ids)
    write(tmp_path / "test.parquet", [cell(9)], label=[1], writer=ids[:1])
    dataset = load(tmp_path, "writer")
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is not None
    assert dataset.train_client_ids.tolist() == [1, 0, 1, 0]
    assert dataset.test_client_ids.tolist() == [1]


def test_test_part_may_have_no_client_ids(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [cell(0), cell(1)], label=[0, 1], writer=[1, 2])
    write(tmp_path / "test.parquet", [cell(9)], label=[1])
    dataset = load(tmp_path, "writer")
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is None


@pytest.mark.parametrize(
    ("columns", "named", "expected"),
    [
        ({"fine_label": [0, 1], "coarse_label": [1, 0]}, None, [0, 1]),
        ({"labels": [1, 0], "size": [0, 1]}, None, [1, 0]),
        ({"label": [0, 1], "digit": [1, 0]}, "digit", [1, 0]),
        ({"label": [0, 1], "fine_label": [1, 0]}, "fine_label", [1, 0]),
    ],
)
def test_label_column_by_key_or_by_convention(
    tmp_path: Path, columns: dict[str, list[int]], named: str | None, expected: list[int]
) -> None:
    write(tmp_path / "train.parquet", [cell(0), cell(1)], **columns)
    write(tmp_path / "test.parquet", [cell(0), cell(1)], **columns)
    assert load(tmp_path, label_column=named).train_labels.tolist() == expected


NAMES = pyarrow.array(["red", "green"] * 2)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (NAMES, [1, 0]),
        (NAMES.cast(pyarrow.large_string()), [1, 0]),
        (NAMES.dictionary_encode(), [1, 0]),
        (pyarrow.array([5, 3, 5, 3]).dictionary_encode(), None),
        (pyarrow.array([1, 0] * 2).dictionary_encode(), [1, 0]),
        (pyarrow.array([1.0, 0.0] * 2), [1, 0]),
        (pyarrow.array([1.0, 0.0] * 2, pyarrow.float32()), [1, 0]),
        (pyarrow.array([True, False] * 2), [1, 0]),
        (pyarrow.array([1, 0] * 2, pyarrow.uint64()), [1, 0]),
    ],
)
def test_labels_and_client_ids_of_other_types(
    tmp_path: Path, labels: pyarrow.Array, expected: list[int] | None
) -> None:
    """Names are numbered in sorted order, for any order of a category's dictionary."""
    write(tmp_path / "train.parquet", [cell(0)] * 4, label=labels, owner=labels)
    write(tmp_path / "test.parquet", [cell(0)] * 4, label=labels, owner=labels)
    if expected is None:
        with pytest.raises(DataError, match=r"train\.parquet.* 3, 5"):
            load(tmp_path)
        return
    dataset = load(tmp_path, "owner")
    assert dataset.train_labels.tolist() == dataset.test_labels.tolist() == expected * 2
    for ids in (dataset.train_client_ids, dataset.test_client_ids):
        assert ids is not None
        assert ids.tolist() == expected * 2


def test_file_without_rows_is_allowed(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", [cell(0)] * 4, label=NAMES)
    write(tmp_path / "train-00001-of-00002.parquet", [], label=pyarrow.array([], pyarrow.string()))
    assert len(load(tmp_path).train_labels) == 2


def test_numbers_and_names_in_files_of_one_part_are_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train-00000-of-00002.parquet", [cell(0)] * 4, label=NAMES)
    write(tmp_path / "train-00001-of-00002.parquet", [cell(0)] * 2, label=[0, 1])
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.label_column", "label")
    assert "strings in train-00000-of-00002.parquet" in caught.value.problem
    assert "numbers in train-00001-of-00002.parquet" in caught.value.problem


def test_images_are_read_by_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(cell(7)["bytes"])
    write(tmp_path / "train.parquet", [{"bytes": None, "path": "a.png"}, cell(1)], label=[0, 1])
    write(tmp_path / "test.parquet", [cell(0)], label=[0])
    assert load(tmp_path).train_inputs[:, 0, 0, 0].tolist() == [7, 1]


@pytest.mark.parametrize(
    ("images", "columns", "client", "field", "problem"),
    [
        (
            [cell(0), None],
            {"label": [0, 1]},
            None,
            "data.root",
            "row 1 of train.parquet",
        ),
        ([cell(0)] * 2, {"label": [0, None]}, None, "data.label_column", "1 row without a value"),
        (
            [cell(0)] * 2,
            {"a": [0, 1], "b": ["x", "y"]},
            None,
            "data.label_column",
            "img (struct<bytes: binary, path: string>), a (int64), b (string)",
        ),
        ([cell(0)] * 2, {"digit": [0, 1]}, None, "data.label_column", "digit (int64)"),
        ([cell(0)] * 2, {"label": [0, 1]}, "label", "data.label_column", "has no column label"),
        (
            [cell(0)] * 2,
            {"label": [0, 1], "fine_label": [0, 1]},
            None,
            "data.label_column",
            "label columns label, fine_label",
        ),
        (
            [cell(0)] * 2,
            {"label": [0.5, 1.0]},
            None,
            "data.label_column",
            "float64 values that are not whole, such as 0.5",
        ),
        ([cell(0)] * 2, {"label": [1e300, 1.0]}, None, "data.label_column", "such as 1e+300"),
        ([cell(0)] * 2, {"label": [float("nan"), 1.0]}, None, "data.label_column", "such as nan"),
        (
            [cell(0)] * 2,
            {"label": [[0], [1]]},
            None,
            "data.label_column",
            "column label of train.parquet contains list<",
        ),
        ([cell(0)] * 2, {"label": [b"a", b"b"]}, None, "data.label_column", "contains binary values"),
        ([cell(0)] * 2, {"label": [0, 1]}, "writer", "data.client_column", "only the columns img, label"),
        ([cell(0)] * 2, {"label": [0, 1], "w": ["a", None]}, "w", "data.client_column", "without a value"),
        (
            [cell(0)] * 2,
            {"label": [0, 1], "w": [0.5, 1.0]},
            "w",
            "data.client_column",
            "train.parquet contains float64",
        ),
    ],
)
def test_unusable_columns_are_rejected(
    tmp_path: Path, images: list[Cell], columns: dict[str, Any], client: str | None, field: str, problem: str
) -> None:
    write(tmp_path / "train.parquet", images, **columns)
    with pytest.raises(DataError) as caught:
        load(tmp_path, client)
    assert caught.value.field == field
    assert problem in caught.value.problem


def test_missing_label_column_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [cell(0)] * 2, label=[0, 1])
    with pytest.raises(DataError, match="img, label") as caught:
        load(tmp_path, label_column="digit")
    assert (caught.value.field, caught.value.value) == ("data.label_column", "digit")


def test_file_of_another_format_is_rejected(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    file.write_text("hello")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", file)


def test_file_without_an_image_column_is_rejected(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.table({"label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"label \(int64\)") as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path)


def test_small_file_with_large_content_is_rejected(tmp_path: Path) -> None:
    """The file has one value of 1 MiB in its dictionary, and 3000 rows that name it."""
    image_type = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    rows = pyarrow.array([{"bytes": b"\0" * 2**20, "path": None}], image_type)
    images = pyarrow.chunked_array([rows] * 3000)
    file = tmp_path / "train.parquet"
    table = pyarrow.table({"img": images, "label": pyarrow.array([0, 1] * 1500)})
    pyarrow.parquet.write_table(table, file, dictionary_pagesize_limit=2**22, compression="zstd")
    assert file.stat().st_size < 100_000
    with pytest.raises(DataError) as caught:
        load_dataset(DataConfig(name="parquet", root=tmp_path, max_gib=0.05))
    assert caught.value.field == "data.max_gib"


@pytest.mark.parametrize("path", ["../secret.png", "/etc/secret.png", "images/../../secret.png"])
def test_image_path_outside_the_folder_is_rejected(tmp_path: Path, path: str) -> None:
    (tmp_path / "data").mkdir()
    Image.fromarray(np.zeros((2, 3), dtype=np.uint8)).save(tmp_path / "secret.png")
    write(tmp_path / "data" / "train.parquet", [{"bytes": None, "path": path}] * 2, label=[0, 1])
    with pytest.raises(DataError, match=r"row 0 of train\.parquet"):
        load(tmp_path / "data")


def test_link_to_an_image_outside_the_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Image.fromarray(np.zeros((2, 3), dtype=np.uint8)).save(tmp_path / "secret.png")
    (tmp_path / "data" / "image.png").symlink_to(tmp_path / "secret.png")
    write(tmp_path / "data" / "train.parquet", [{"bytes": None, "path": "image.png"}] * 2, label=[0, 1])
    with pytest.raises(DataError, match=r"row 0 of train\.parquet"):
        load(tmp_path / "data")


def test_pipe_in_place_of_an_image_is_rejected(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "image.png")
    write(tmp_path / "train.parquet", [{"bytes": None, "path": "image.png"}] * 2, label=[0, 1])
    with pytest.raises(DataError, match="not a regular file"):
        load(tmp_path)
