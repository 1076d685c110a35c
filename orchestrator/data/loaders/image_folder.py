"""Folders of images, one folder per class.

Either <root>/train/<class>/** with <root>/test (or val, valid, validation, ...) next to it, or <root>/<class>/**.
An image in a sub-folder belongs to the class of the top folder. Classes are numbered in the sorted order of
their folders' names. Names that begin with a dot are not part of the data.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import Encoded, decode_parts
from orchestrator.data.loaders.locate import existing_root
from orchestrator.data.loaders.parts import TEST_NAMES, TRAIN_NAMES, choose_test, named, unused_note
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

_SUFFIXES = {
    ".png",
    ".jpg",
    ".jpeg",
    ".jfif",
    ".bmp",
    ".gif",
    ".webp",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
    ".pbm",
}


@dataclass(frozen=True, slots=True, eq=False)
class _FolderPart:
    """The images of a training or test folder, and the other files in it."""

    files: list[Path]
    labels: list[int]
    others: list[Path]
    num_nested: int


def load(config: DataConfig) -> Splits:
    """uint8 images and labels, files in sorted order; raises DataError for missing, empty or ambiguous folders."""
    root = existing_root(config, "a folder with one folder of images per class")
    train_folder, test_folder, unused = _part_folders(root)
    classes = [folder.name for folder in _folders(train_folder)]
    if len(classes) < 2:
        found = f"holds one class folder, {classes[0]}" if classes else "holds no folders"
        raise DataError("data.root", train_folder, found, "give each class a folder of images")
    parts = [_list_part(train_folder, classes)]
    if test_folder is not None:
        unknown = sorted({folder.name for folder in _folders(test_folder)} - set(classes))
        if unknown:
            problem = f"class {unknown[0]} has no training folder"
            raise DataError("data.root", test_folder, problem, "make them match")
        parts.append(_list_part(test_folder, classes, may_lack_classes=True))
    images, notes = decode_parts(config, [Encoded(p.files, [str(f) for f in p.files]) for p in parts])
    rows = [LoadedPart(x, np.asarray(p.labels, dtype=np.int64)) for x, p in zip(images, parts, strict=True)]
    notes += unused_note(root, unused, "not the training or the test part")
    notes += unused_note(root, [f for p in parts for f in p.others], "no image in a class folder")
    return Splits(rows[0], rows[1] if len(rows) > 1 else None, notes=(*notes, *_nested_note(parts)))


def _part_folders(root: Path) -> tuple[Path, Path | None, list[Path]]:
    """The training folder, the test folder (None: hold a part out), and what else lies in `root`."""
    folders = _folders(root)
    train = [folder for folder in folders if folder.name.lower() in TRAIN_NAMES]
    tests = {folder.name.lower(): folder for folder in folders if folder.name.lower() in TEST_NAMES}
    if len(train) > 1:
        problem = f"{named([folder.name for folder in train])} are all named like the training part"
        raise DataError("data.root", root, problem, "keep one")
    if not train:
        if tests:
            name = next(iter(tests.values())).name
            problem = f"the folder {name} is named like a test part, and there is no folder train"
            raise DataError("data.root", root, problem, "add it, or rename that class")
        return root, None, []
    test = choose_test(tests, lambda folder: bool(_folders(folder)))
    if tests and test is None:
        folder = next(iter(tests.values()))
        raise DataError("data.root", folder, "holds no folders", "give each class a folder of images")
    return train[0], test, [path for path in _visible(root) if path not in (train[0], test)]


def _list_part(folder: Path, classes: list[str], may_lack_classes: bool = False) -> _FolderPart:
    files: list[Path] = []
    labels: list[int] = []
    others = [path for path in _visible(folder) if not path.is_dir()]
    num_nested = 0
    for label, name in enumerate(classes):
        inside = _files(folder / name)
        found = [file for file in inside if file.suffix.lower() in _SUFFIXES]
        rest = [file for file in inside if file.suffix.lower() not in _SUFFIXES]
        if not found and not may_lack_classes:
            problem = f"holds no images{f', but {named([file.name for file in rest])}' if rest else ''}"
            raise DataError("data.root", folder / name, problem, "add some or remove the folder")
        files += found
        labels += [label] * len(found)
        others += rest
        num_nested += sum(file.parent != folder / name for file in found)
    if not files:
        raise DataError("data.root", folder, "there are no images in its class folders", "add some")
    return _FolderPart(files, labels, others, num_nested)


def _nested_note(parts: list[_FolderPart]) -> tuple[str, ...]:
    num_nested = sum(part.num_nested for part in parts)
    if not num_nested:
        return ()
    num_images = sum(len(part.files) for part in parts)
    return (
        f"{num_nested} of {num_images} images lie in sub-folders of a class: they belong to the top folder's class",
    )


def _files(folder: Path) -> list[Path]:
    """All files under a class folder, in sorted order, through links to folders too.

    Raises DataError for a sub-folder that is named like a part: its images must not be mixed with the others.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        names[:] = [] if real in seen else [name for name in names if not name.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        if part := next((name for name in names if name.lower() in TRAIN_NAMES + TEST_NAMES), None):
            problem = f"the folder {part} in a class is named like a training or test part"
            raise DataError("data.root", place, problem, "put train and test above the class folders")
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=lambda f: f.name)
