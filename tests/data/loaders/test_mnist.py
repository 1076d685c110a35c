"""The idx files of MNIST, FashionMNIST and EMNIST, on small files."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.mnist import read_idx
from orchestrator.data.registry import load_dataset
from orchestrator.errors import DataError


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_family(folder: Path, prefixes: tuple[str, str], packed: bool) -> np.ndarray:
    """Six images of 3x3 in each part, with labels 0 1 2 0 1 2; returns the images."""
    folder.mkdir(parents=True)
    images = np.arange(54).reshape(6, 3, 3)
    for prefix in prefixes:
        for name, array in (("images-idx3", images), ("labels-idx1", np.array([0, 1, 2] * 2))):
            file = folder / f"{prefix}-{name}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return images


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashionmnist", "FashionMNIST")])
def test_torchvisions_layout_is_read(tmp_path: Path, name: str, folder: str, packed: bool) -> None:
    images = write_family(tmp_path / folder / "raw", ("train", "t10k"), packed)
    dataset = load_dataset(DataConfig(name=name, root=tmp_path))
    assert np.array_equal(dataset.train_inputs[:, 0], images)
    assert dataset.test_labels.tolist() == [0, 1, 2] * 2
    assert dataset.mean == ((0.1307,) if name == "mnist" else (0.2860,))


def test_emnist_images_are_transposed(tmp_path: Path) -> None:
    images = write_family(tmp_path / "EMNIST" / "raw", ("emnist-byclass-train", "emnist-byclass-test"), True)
    dataset = load_dataset(DataConfig(name="emnist", root=tmp_path))
    assert np.array_equal(dataset.train_inputs[2, 0], images[2].T)
    assert dataset.train_inputs.flags.c_contiguous


def test_unpacked_file_is_preferred_to_packed_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(idx(np.array([1])))
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(np.array([2]))))
    assert read_idx(tmp_path / "a", 1).tolist() == [1]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08\x01\0",
        idx(np.array([1, 2]))[:-1],
        idx(np.array([1, 2])) + b"\0",
        b"\0\0\x0d\x01\0\0\0\x01\0",
        idx(np.ones((1, 1))),
    ],
)
def test_file_of_another_format_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match="idx file") as caught:
        read_idx(tmp_path / "a", 1)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path / "a")


def test_missing_file_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither a nor a\.gz") as caught:
        read_idx(tmp_path / "a", 1)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path)


@pytest.mark.parametrize("content", [b"no gzip", gzip.compress(idx(np.arange(99)))[:-20]])
def test_corrupt_gzip_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(DataError, match="cannot be read") as caught:
        read_idx(tmp_path / "a", 1)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path / "a.gz")


def test_failed_download_is_reported_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cache folder's parent is a file, so that the download fails before it uses the network."""
    (tmp_path / ".cache").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("mnist", "emnist", "cifar10"):
        with pytest.raises(DataError) as caught:
            load_dataset(DataConfig(name=name))
        assert caught.value.field == "data.root"
        assert f"the download of {name} into {tmp_path}" in caught.value.problem
        assert "data.name=digits" in caught.value.remedy
