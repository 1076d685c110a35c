"""Loads folders of images, one folder per class.

The layout is <root>/<class>/** without parts, or <root>/train/<class>/** with an optional <root>/test (or val, valid,
validation, ...). An image in a sub-folder belongs to the class of the top folder. Classes are numbered in the sorted
order of their folders' names. The loader ignores names that begin with a dot.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import EncodedImages, decode_parts
from orchestrator.data.loaders.locate import existing_root
from orchestrator.data.loaders.parts import TEST_NAMES, TRAIN_NAMES, choose_test, join_names, unused_note
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError
from orchestrator.formatting import counted

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
    """Load uint8 images and labels, with files in sorted order.

    Raises DataError for missing, empty or ambiguous folders.
    """
    root = existing_root(config, "a folder with one folder of images per class")
    train_folder, test_folder, unused = _part_folders(root)
    classes = [folder.name for folder in _folders(train_folder)]
    if len(classes) < 2:
        problem = f"contains one class folder, {classes[0]}" if classes else "contains no folders"
        raise DataError("data.root", train_folder, problem, "give each class a folder of images")
    parts = [_list_part(train_folder, classes)]
    if test_folder is not None:
        unknown = sorted({folder.name for folder in _folders(test_folder)} - set(classes))
        if unknown:
            problem = f"class {unknown[0]} has no training folder"
            raise DataError("data.root", test_folder, problem, "give both parts the same classes")
        parts.append(_list_part(test_folder, classes, allow_missing_classes=True))
    images, notes = decode_parts(config, [EncodedImages(p.files, [str(f) for f in p.files]) for p in parts])
    rows = [LoadedPart(x, np.asarray(p.labels, dtype=np.int64)) for x, p in zip(images, parts, strict=True)]
    notes += unused_note(root, unused, "not the training or the test part")
    notes += unused_note(root, [f for p in parts for f in p.others], "no image in a class folder")
    return Splits(rows[0], rows[1] if len(rows) > 1 else None, notes=(*notes, *_nested_note(parts)))


def _part_folders(root: Path) -> tuple[Path, Path | None, list[Path]]:
    """Return the training folder, the test folder (None: there is none), and all other paths in `root`."""
    folders = _folders(root)
    train = [folder for folder in folders if folder.name.lower() in TRAIN_NAMES]
    tests = {folder.name.lower(): folder for folder in folders if folder.name.lower() in TEST_NAMES}
    if len(train) > 1:
        problem = f"{join_names([folder.name for folder in train])} are all named like the training part"
        raise DataError("data.root", root, problem, "keep one of these folders")
    if not train:
        if tests:
            name = next(iter(tests.values())).name
            problem = f"the folder {name} is named like a test part, but there is no folder train"
            raise DataError("data.root", root, problem, f"add the folder train, or rename the folder {name}")
        return root, None, []
    test = choose_test(tests, lambda folder: bool(_folders(folder)))
    if tests and test is None:
        folder = next(iter(tests.values()))
        raise DataError("data.root", folder, "contains no folders", "give each class a folder of images")
    return train[0], test, [path for path in _visible(root) if path not in (train[0], test)]


def _list_part(folder: Path, classes: list[str], allow_missing_classes: bool = False) -> _FolderPart:
    """List the images and the other files of a training or test folder. Raises DataError for an empty folder."""
    files: list[Path] = []
    labels: list[int] = []
    others = [path for path in _visible(folder) if not path.is_dir()]
    num_nested = 0
    for label, name in enumerate(classes):
        inside = _files(folder / name)
        found = [file for file in inside if file.suffix.lower() in _SUFFIXES]
        rest = [file for file in inside if file.suffix.lower() not in _SUFFIXES]
        if not found and not allow_missing_classes:
            problem = (
                f"contains no images{f', but {join_names([file.name for file in rest])}' if rest else ''}"
            )
            raise DataError("data.root", folder / name, problem, "add images, or remove the folder")
        files += found
        labels += [label] * len(found)
        others += rest
        num_nested += sum(file.parent != folder / name for file in found)
    if not files:
        raise DataError("data.root", folder, "its class folders contain no images", "add images")
    return _FolderPart(files, labels, others, num_nested)


def _nested_note(parts: list[_FolderPart]) -> tuple[str, ...]:
    num_nested = sum(part.num_nested for part in parts)
    if not num_nested:
        return ()
    num_images = sum(len(part.files) for part in parts)
    return (
        f"{num_nested} of {counted(num_images, 'image')} in sub-folders of a class: the top folder is the class",
    )


def _files(folder: Path) -> list[Path]:
    """Return all files under a class folder, in sorted order, including those behind links to folders.

    Raises DataError for a sub-folder with the name of a training or test part, since parts must not be mixed.
    """
    found: list[Path] = []
    seen: set[str] = set()
    for parent, names, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        names[:] = [] if real in seen else [name for name in names if not name.startswith(".")]
        if real in seen:
            continue
        seen.add(real)
        if part := next((name for name in names if name.lower() in TRAIN_NAMES + TEST_NAMES), None):
            problem = f"the folder {part} in a class is named like a training or test part"
            raise DataError("data.root", parent, problem, "move train and test above the class folders")
        found += [Path(parent, name) for name in files if not name.startswith(".")]
    return sorted(found)


def _folders(folder: Path) -> list[Path]:
    return [path for path in _visible(folder) if path.is_dir()]


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted((f for f in folder.iterdir() if not f.name.startswith(".")), key=lambda f: f.name)
