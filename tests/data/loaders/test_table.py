"""Vectors from CSV and Parquet files: columns, texts, parts, and rejected tables."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError

COLUMNS: dict[str, list[Any]] = {
    "age": [30, 40, 50, 60],
    "job": ["nurse", "cook", "cook", "pilot"],
    "income": ["low", "high", "low", "high"],
    "city": [1, 1, 2, 2],
}


def load(root: Path, **keys: Any) -> Dataset:
    return load_dataset(DataConfig(name="table", root=root, label_column="income", **keys))


def write(file: Path, columns: dict[str, list[Any]]) -> Path:
    (csv.write_csv if file.suffix == ".csv" else parquet.write_table)(pa.table(columns), file)
    return file


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_columns_become_features_in_the_order_of_the_file(tmp_path: Path, suffix: str) -> None:
    for part in ("train", "test"):
        write(tmp_path / f"{part}{suffix}", COLUMNS)
    dataset = load(tmp_path, client_column="city")
    # age, then cook, nurse and pilot in sorted order
    expected = [[30, 0, 1, 0], [40, 1, 0, 0], [50, 1, 0, 0], [60, 0, 0, 1]]
    assert dataset.train_inputs.tolist() == expected
    assert dataset.train_labels.tolist() == [1, 0, 1, 0]  # high, low
    assert dataset.train_client_ids is not None
    assert dataset.train_client_ids.tolist() == [0, 0, 1, 1]
    assert dataset.notes == ("columns of texts, read as one feature for each text: job (3)",)


def test_chosen_columns_alone_are_read(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", COLUMNS)
    write(tmp_path / "test.csv", COLUMNS)
    dataset = load(tmp_path, feature_columns=("city", "age"))
    assert dataset.train_inputs.tolist() == [[1, 30], [1, 40], [2, 50], [2, 60]]


def test_unknown_text_of_the_test_part_has_no_feature(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", COLUMNS)
    write(tmp_path / "test.csv", {**COLUMNS, "job": ["king", "cook", "cook", "pilot"]})
    dataset = load(tmp_path, feature_columns=("job",))
    assert dataset.test_inputs.tolist() == [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]]


def test_one_file_is_split(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "people.csv", {name: values * 5 for name, values in COLUMNS.items()}))
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (16, 4)


@pytest.mark.parametrize(
    ("columns", "keys", "field", "problem"),
    [
        ({"age": [1, 2, None, 4]}, {}, "data.feature_columns", "column age of t.parquet has 1 row without"),
        ({"age": [1.0, 2.0, np.inf, 4.0]}, {}, "data.feature_columns", "not finite"),
        ({"job": ["a", None, "b", "c"]}, {}, "data.feature_columns", "1 row without a value"),
        ({"income": [1, None, 2, 1]}, {}, "data.label_column", "1 row without a value"),
        ({"age": [[1], [2], [3], [4]]}, {}, "data.feature_columns", "column age of t.parquet is object"),
        ({}, {"feature_columns": ("size",)}, "data.feature_columns", "has only the columns"),
        ({}, {"feature_columns": ("income",)}, "data.feature_columns", "labels or the client ids"),
        ({}, {"client_column": "town"}, "data.client_column", "has only the columns"),
    ],
)
def test_unusable_columns_are_rejected(
    tmp_path: Path, columns: dict[str, list[Any]], keys: dict[str, Any], field: str, problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "t.parquet", COLUMNS | columns), **keys)
    assert caught.value.field == field
    assert problem in caught.value.problem


def test_identifiers_are_no_features(tmp_path: Path) -> None:
    names = [f"name {i}" for i in range(1001)]
    table = {"name": names, "income": [i % 2 for i in range(1001)]}
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "t.csv", table))
    assert "1001 different texts" in caught.value.problem


def test_other_files_and_broken_files_are_rejected(tmp_path: Path) -> None:
    for name in ("data.xlsx", "data.parquet"):
        (tmp_path / name).write_text("no table")
        with pytest.raises(DataError) as caught:
            load(tmp_path / name)
        assert caught.value.field == "data.root"


def test_table_above_the_limit_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path / "t.csv", COLUMNS), max_gib=1e-9)
    assert caught.value.field == "data.max_gib"
