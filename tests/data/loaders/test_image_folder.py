"""Class folders of images: layouts, notes and rejected folders."""

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


@pytest.mark.parametrize("test_name", ["test", "val", "valid", "validation", "Test", "testing"])
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


def test_class_folders_without_parts_are_split(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for number in range(5):
            write(tmp_path / label / f"{number}.png")
    dataset = load(tmp_path)
    assert np.bincount(dataset.train_labels).tolist() == [4, 4]
    assert np.bincount(dataset.test_labels).tolist() == [1, 1]


def test_images_in_sub_folders_have_the_class_of_the_top_folder(tmp_path: Path) -> None:
    """4 of 7 images are in sub-folders. One of these is behind a link to another folder."""
    for number, file in enumerate(
        ("a/part0/2.png", "a/part0/deep/1.png", "a/9.png", "b/part1/1.png", "b/1.png")
    ):
        write(tmp_path / "data" / "train" / file, number)
    write(tmp_path / "elsewhere" / "x.png", 5)
    write(tmp_path / "data" / "test" / "b" / "1.png")
    (tmp_path / "data" / "train" / "b" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "train" / "b" / "loop").symlink_to(tmp_path / "data" / "train" / "b")
    dataset = load(tmp_path / "data")
    assert dataset.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train_inputs[:, 0, 0, 0].tolist() == [2, 0, 1, 4, 5, 3]
    (note,) = dataset.notes
    assert note.startswith("4 of 7 images in sub-folders")


def test_one_grey_image_among_colour_images_is_read_as_rgb(tmp_path: Path) -> None:
    for number in range(3):
        for name, colour in (("red", (200, 0, 0)), ("green", (0, 100, 0))):
            file = tmp_path / name / f"{number}.png"
            file.parent.mkdir(exist_ok=True)
            Image.new("RGB", (2, 2), colour).save(file)
    write(tmp_path / "green" / "0.png", 9, (2, 2))
    dataset = load(tmp_path)
    pixels = {
        (label, *image[:, 0, 0].tolist())
        for label, image in (
            *zip(dataset.train_labels.tolist(), dataset.train_inputs, strict=True),
            *zip(dataset.test_labels.tolist(), dataset.test_inputs, strict=True),
        )
    }
    assert pixels == {(0, 0, 100, 0), (0, 9, 9, 9), (1, 200, 0, 0)}
    (note,) = dataset.notes
    assert "1 grey and 5 colour" in note


def test_notes_name_the_files_that_are_not_read(tmp_path: Path) -> None:
    """`test` has no class folders, and `val` precedes `valid`. Notes name other files and files outside a class."""
    for part in ("train", "val", "valid"):
        for name in ("a", "b"):
            write(tmp_path / part / name / "1.png", {"train": 1, "val": 2, "valid": 3}[part])
    write(tmp_path / "test" / "unlabelled.png")
    write(tmp_path / "train" / "stray.png")
    (tmp_path / "train" / "a" / "1.npy").write_text("no image")
    (tmp_path / "train" / "a" / ".DS_Store").write_text("not part of the data")
    dataset = load(tmp_path)
    assert dataset.test_inputs[:, 0, 0, 0].tolist() == [2, 2]
    folders, files = dataset.notes
    assert f"{tmp_path}: test, valid (" in folders
    assert f"{tmp_path}: train/stray.png, train/a/1.npy (" in files


@pytest.mark.parametrize(
    ("files", "folder", "problem"),
    [
        (["a/1.png"], ".", "one class folder, a"),
        (["data/train/a/1.png", "data/train/b/1.png"], ".", "one class folder, data"),
        (["train/a/1.png", "training/b/1.png"], ".", "train, training"),
        (["test/a/1.png", "other/a/1.png"], ".", "no folder train"),
        (["a/test/1.png", "b/1.png"], "a", "the folder test in a class"),
        (["train/a/1.png", "train/b/1.png", "test/1.png"], "test", "no folders"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.txt"], "val", "no images"),
        (["a/1.txt", "b/1.png"], "a", "no images, but 1.txt"),
        (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "test", "class c"),
        ([], ".", "no folders"),
    ],
)
def test_other_layouts_are_rejected(tmp_path: Path, files: list[str], folder: str, problem: str) -> None:
    for file in files:
        if file.endswith(".png"):
            write(tmp_path / file)
        else:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text("no image")
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert (caught.value.field, Path(str(caught.value.value))) == ("data.root", tmp_path / folder)
    assert problem in caught.value.problem


def test_empty_class_folder_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "train" / "a").mkdir(parents=True)
    write(tmp_path / "train" / "c" / "1.png")
    with pytest.raises(DataError, match="no images") as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.root", tmp_path / "train" / "a")


def test_image_of_another_size_is_rejected(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "1.png")
    write(tmp_path / "train" / "b" / "1.png", size=(5, 5))
    with pytest.raises(DataError, match=r"b/1\.png is 5x5.* 3x2 \(.*/a/1\.png\)") as caught:
        load(tmp_path)
    assert (caught.value.field, caught.value.value) == ("data.image_size", None)
