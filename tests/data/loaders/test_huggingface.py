"""Hugging Face data sets saved on disk: images, tables, splits, and rejected folders."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError

datasets = pytest.importorskip("datasets")


def load(root: Path, **keys: Any) -> Dataset:
    return load_dataset(DataConfig(name="huggingface", root=root, **keys))


def _png(level: int) -> dict[str, Any]:
    file = io.BytesIO()
    Image.new("L", (4, 4), level).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def _images(levels: list[int], labels: list[int]) -> Any:
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    return datasets.Dataset.from_dict({"image": [_png(v) for v in levels], "label": labels}, features)


def test_images_and_splits(tmp_path: Path) -> None:
    train, test = _images([1, 2, 3, 4], [0, 1, 0, 1]), _images([5, 6], [1, 0])
    parts = {"train": train, "validation": test, "unsupervised": test}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    dataset = load(tmp_path / "pets")
    assert dataset.input_shape == (1, 4, 4)
    assert dataset.train_inputs[:, 0, 0, 0].tolist() == [1, 2, 3, 4]
    assert dataset.test_inputs[:, 0, 0, 0].tolist() == [5, 6]
    assert dataset.test_labels.tolist() == [1, 0]
    (note,) = dataset.notes
    assert "unsupervised" in note


def test_columns_of_numbers_become_vectors_in_the_order_of_the_data_set(tmp_path: Path) -> None:
    rows = datasets.Dataset.from_dict({"a": [0, 1, 2, 3], "label": [0, 1, 0, 1], "who": ["x", "x", "y", "y"]})
    chosen = rows.select([3, 2, 1, 0])  # an index on the rows, which the loader must follow
    datasets.DatasetDict({"train": chosen, "test": rows}).save_to_disk(tmp_path / "rows")
    dataset = load(tmp_path / "rows", client_column="who")
    assert dataset.train_inputs.tolist() == [[3.0], [2.0], [1.0], [0.0]]
    assert dataset.train_labels.tolist() == [1, 0, 1, 0]
    assert dataset.train_client_ids is not None
    assert dataset.train_client_ids.tolist() == [1, 1, 0, 0]


def test_data_set_without_splits_is_split(tmp_path: Path) -> None:
    _images(list(range(20)), [0, 1] * 10).save_to_disk(tmp_path / "pets")
    dataset = load(tmp_path / "pets")
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (16, 4)
    assert np.bincount(dataset.test_labels).tolist() == [2, 2]


def test_folders_without_a_training_part_are_rejected(tmp_path: Path) -> None:
    datasets.DatasetDict({"test": _images([1, 2], [0, 1])}).save_to_disk(tmp_path / "pets")
    (tmp_path / "other").mkdir()
    for name, problem in (("pets", "only the splits test"), ("other", "not a readable data set")):
        with pytest.raises(DataError) as caught:
            load(tmp_path / name)
        assert caught.value.field == "data.root"
        assert problem in caught.value.problem
