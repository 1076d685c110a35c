"""Class folders of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError


def write(file: Path, value: int = 0, size: tuple[int, int] = (3, 2)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, value).save(file)


def load(root: Path) -> Dataset:
    return load_dataset(DataConfig(name="imagefolder", root=root))


@pytest.mark.parametrize("test_name", ["test", "val", "validation"])
def test_train_and_test_folders(tmp_path: Path, test_name: str) -> None:
    write(tmp_path / "train" / "dog" / "1.png", 3)
    write(tmp_path / "train" / "cat" / "b.JPG", 2)
    write(tmp_path / "train" / "cat" / "a.png", 1)
    write(tmp_path / test_name / "dog" / "x.png", 4)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".thumbnails").mkdir()
    dataset = load(tmp_path)
    assert dataset.train_labels.tolist() == [0, 0, 1]
    assert dataset.train_inputs[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert dataset.test_labels.tolist() == [1]
    assert np.array_equal(dataset.test_inputs, np.full((1, 1, 2, 3), 4))


def test_class_folders_alone_are_split(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(5):
            write(tmp_path / label / f"{number}.png")
    dataset = load(tmp_path)
    assert np.bincount(dataset.train_labels).tolist() == [4, 4]
    assert np.bincount(dataset.test_labels).tolist() == [1, 1]


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no folders"):
        load(tmp_path)
    (tmp_path / "train" / "a").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no images"):
        load(tmp_path)
    write(tmp_path / "train" / "a" / "1.png")
    write(tmp_path / "test" / "b" / "1.png")
    with pytest.raises(DataError, match="class b has no training folder"):
        load(tmp_path)
    write(tmp_path / "train" / "b" / "1.png", size=(5, 5))
    with pytest.raises(DataError, match=r"1.png is 5x5, the first image 3x2") as caught:
        load(tmp_path)
    assert caught.value.field == "data.image_size"
