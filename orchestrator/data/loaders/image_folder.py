"""Folders of images, one folder per class.

Either <root>/train/<class>/* with <root>/test (or val, validation) beside it, or <root>/<class>/*.
Classes are numbered in the sorted order of their folders' names.
"""

from pathlib import Path

import numpy as np

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import Source, decode_all
from orchestrator.data.loaders.locate import existing_root
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

_TEST_NAMES = ("test", "val", "validation")
_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}


def load(config: DataConfig) -> Splits:
    """uint8 images and labels, files in sorted order; raises DataError for missing or empty folders."""
    root = existing_root(config, "a folder with one folder of images per class")
    split = (root / "train").is_dir()
    train_folder = root / "train" if split else root
    classes = _folders(train_folder)
    if not classes:
        raise DataError("data.root", train_folder, "holds no folders", "give each class a folder of images")
    train = _part(config, train_folder, classes)
    test_folder = (
        next((root / name for name in _TEST_NAMES if (root / name).is_dir()), None) if split else None
    )
    if test_folder is None:
        return Splits(train)
    unknown = sorted(set(_folders(test_folder)) - set(classes))
    if unknown:
        raise DataError(
            "data.root", test_folder, f"class {unknown[0]} has no training folder", "make them match"
        )
    return Splits(train, _part(config, test_folder, classes, train))


def _folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith("."))


def _part(
    config: DataConfig, folder: Path, classes: list[str], train: LoadedPart | None = None
) -> LoadedPart:
    files: list[Source] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(f for f in (folder / name).glob("*") if f.suffix.lower() in _SUFFIXES)
        if not found and train is None:
            raise DataError("data.root", folder / name, "holds no images", "add some or remove the folder")
        files += found
        labels += [label] * len(found)
    images = decode_all(config, files, lambda i: str(files[i]), None if train is None else train.images)
    return LoadedPart(images, np.asarray(labels, dtype=np.int64))
