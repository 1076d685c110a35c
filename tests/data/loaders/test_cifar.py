"""CIFAR's pickles: small files whose digests the tests set in torchvision."""

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torchvision.datasets import CIFAR10, CIFAR100

from orchestrator.config.sections import DataConfig
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError


def write(file: Path, content: dict[str, Any]) -> list[str]:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(pickle.dumps(content))
    return [file.name, hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()]


@pytest.mark.parametrize(
    ("name", "make", "label_key", "names_key"),
    [
        ("cifar10", CIFAR10, "labels", "label_names"),
        ("cifar100", CIFAR100, "fine_labels", "fine_label_names"),
    ],
)
def test_images_are_channels_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: type[CIFAR10],
    label_key: str,
    names_key: str,
) -> None:
    images = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    folder = tmp_path / make.base_folder
    listed = {part: [write(folder / part, {"data": images, label_key: [0, 1]})] for part in ("train", "test")}
    meta = write(folder / "meta", {names_key: ["a", "b"]})
    monkeypatch.setattr(make, "train_list", listed["train"])
    monkeypatch.setattr(make, "test_list", listed["test"])
    monkeypatch.setattr(make, "meta", {"filename": "meta", "key": names_key, "md5": meta[1]})
    dataset = load_dataset(DataConfig(name=name, root=tmp_path))
    assert np.array_equal(dataset.train_inputs, images.reshape(2, 3, 32, 32))
    assert dataset.test_labels.tolist() == [0, 1]
    assert dataset.std == (0.2023, 0.1994, 0.2010)


def test_missing_files_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cifar-100-python/") as caught:
        load_dataset(DataConfig(name="cifar100", root=tmp_path))
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path)
