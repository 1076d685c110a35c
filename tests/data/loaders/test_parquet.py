"""Parquet files after the Hugging Face convention, on tiny ones made here."""

import io
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


def load(root: Path, client_column: str | None = None) -> Dataset:
    return load_dataset(DataConfig(name="parquet", root=root, client_column=client_column))


def test_folder_with_several_training_files_and_a_test_file(tmp_path: Path) -> None:
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


def test_one_file_is_split(tmp_path: Path) -> None:
    file = write(tmp_path / "all.parquet", [cell(i) for i in range(10)], label=[0, 1] * 5)
    dataset = load(file)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (8, 2)


@pytest.mark.parametrize("ids", [["z", "a", "z", "a"], [70, 5, 70, 5]])
def test_client_column(tmp_path: Path, ids: list[Any]) -> None:
    write(tmp_path / "train.parquet", [cell(i) for i in range(4)], label=[0, 0, 1, 1], writer=ids)
    write(tmp_path / "test.parquet", [cell(9)], label=[1], writer=ids[:1])
    dataset = load(tmp_path, "writer")
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is not None
    assert dataset.train_client_ids.tolist() == [1, 0, 1, 0]
    assert dataset.test_client_ids.tolist() == [1]


def test_a_test_part_without_client_ids(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [cell(0), cell(1)], label=[0, 1], writer=[1, 2])
    write(tmp_path / "test.parquet", [cell(9)], label=[1])
    dataset = load(tmp_path, "writer")
    assert dataset.train_client_ids is not None
    assert dataset.test_client_ids is None


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"fine_label": [0, 1], "coarse_label": [1, 0]}, [0, 1]),
        ({"labels": [1, 0], "size": [0, 1]}, [1, 0]),
        ({"digit": [1, 0], "writer": [4, 4]}, [1, 0]),
    ],
)
def test_label_column_by_name_or_as_the_only_one(
    tmp_path: Path, columns: dict[str, list[int]], expected: list[int]
) -> None:
    write(tmp_path / "train.parquet", [cell(0), cell(1)], **columns)
    write(tmp_path / "test.parquet", [cell(0), cell(1)], **columns)
    dataset = load(tmp_path, "writer" if "writer" in columns else None)
    assert dataset.train_labels.tolist() == expected


def test_images_by_path(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(cell(7)["bytes"])
    write(tmp_path / "train.parquet", [{"bytes": None, "path": "a.png"}, cell(1)], label=[0, 1])
    write(tmp_path / "test.parquet", [cell(0)], label=[0])
    assert load(tmp_path).train_inputs[:, 0, 0, 0].tolist() == [7, 1]


@pytest.mark.parametrize(
    ("images", "columns", "client", "field", "words"),
    [
        (
            [cell(0), None],
            {"label": [0, 1]},
            None,
            "data.root",
            "row 1 of train.parquet is not a readable image",
        ),
        ([cell(0)] * 2, {"label": [0, None]}, None, "data.root", "rows without a value"),
        ([cell(0)] * 2, {"a": [0, 1], "b": [0, 1]}, None, "data.root", "no integer column called label"),
        ([cell(0)] * 2, {"label": ["cat", "dog"]}, None, "data.root", "no integer column called label"),
        ([cell(0)] * 2, {"label": [0, 1]}, "writer", "data.client_column", "only the columns img, label"),
        ([cell(0)] * 2, {"label": [0, 1], "w": ["a", None]}, "w", "data.client_column", "without a value"),
        ([cell(0)] * 2, {"label": [0, 1], "w": [0.5, 1.0]}, "w", "data.client_column", "holds float64"),
    ],
)
def test_refusals(
    tmp_path: Path, images: list[Cell], columns: dict[str, Any], client: str | None, field: str, words: str
) -> None:
    write(tmp_path / "train.parquet", images, **columns)
    with pytest.raises(DataError) as caught:
        load(tmp_path, client)
    assert caught.value.field == field
    assert words in str(caught.value)


def test_files_that_are_missing_or_no_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no train\*.parquet"):
        load(tmp_path)
    (tmp_path / "train.parquet").write_text("hello")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        load(tmp_path)
    pyarrow.parquet.write_table(pyarrow.table({"label": [0, 1]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="has 0 image columns"):
        load(tmp_path)
