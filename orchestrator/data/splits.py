"""Turns the images or vectors that a loader read into a checked `Dataset`: labels, client ids, test part, constants."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset, Images
from orchestrator.data.grouping import group_rows, ranks
from orchestrator.errors import DataError
from orchestrator.formatting import counted

Int64 = NDArray[np.int64]
Constants = tuple[tuple[float, ...], tuple[float, ...]]

#: fixed, since the held-out test part is the same for every experiment seed
_HOLDOUT_SEED = 2_112_098


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPart:
    """One part of a data set as read: images [N, C, H, W] or vectors [N, F], labels [N], client ids [N] or
    None.

    Labels and client ids are integers or strings. `label_source` names the labels' file and column in errors.
    """

    images: Images
    labels: NDArray[np.generic]
    client_ids: NDArray[np.generic] | None = None
    label_source: str = ""

    def select(self, chosen: NDArray[np.bool_]) -> "LoadedPart":
        """Return the chosen rows, in order."""
        ids = None if self.client_ids is None else self.client_ids[chosen]
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], client_ids=ids)


@dataclass(frozen=True, slots=True, eq=False)
class Splits:
    """The result of a loader.

    - `test`: the test part (None: `assemble` holds out a test part).
    - `constants`: the published mean and standard deviation of the training images by channel (None: `assemble`
      computes them). They require a test part, since constants of images that are split later would depend on test
      images.
    - `notes`: lines for the user about files that were not read, and about unusual ways of reading.
    """

    train: LoadedPart
    test: LoadedPart | None = None
    constants: Constants | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for constants without a test part."""
        if self.test is None and self.constants is not None:
            raise ValueError("constants without a test part include test images")


def assemble(config: DataConfig, splits: Splits) -> Dataset:
    """Check the images that a loader read, and build the data set.

    - Without a test part, the function holds out `data.test_fraction` of the images with a fixed random stream: of
      each client's images when the data has client ids, else of each class's images; at least one and never all.
    - `data.mean` and `data.std` are the constants. Without them, the published constants are used, and without
      published ones, mean and standard deviation are computed over the training pixels of each channel.
    - Labels that are names become 0, 1, 2, ... in the sorted order of the names in the training part.

    Raises DataError for data on which no model can be trained.
    """
    train, test = _numbered(config, splits.train, splits.test)
    num_classes = _num_classes(config, train, test)
    if test is None:
        train, test = _hold_out(config, train)
    if train.images.ndim == 2:
        _reject_image_keys(config)
    if config.image_size is not None:
        train, test = _resized(train, config.image_size), _resized(test, config.image_size)
    forms = [(rows.images.dtype, rows.images.shape[1:]) for rows in (train, test)]
    if forms[0] != forms[1]:
        problem = f"training inputs are {forms[0]}, but test inputs are {forms[1]}"
        raise _unusable(config, problem, "give both parts the same dtype and shape")
    constants = _own_constants(config, train.images.shape[1]) or splits.constants
    mean, std = constants or channel_statistics(train.images)
    train_ids, test_ids = _dense_ids(config, train.client_ids, test.client_ids)
    return Dataset(
        name=config.name,
        input_shape=tuple(train.images.shape[1:]),
        num_classes=num_classes,
        train_inputs=_contiguous(train.images),
        train_labels=train.labels.astype(np.int64),
        test_inputs=_contiguous(test.images),
        test_labels=test.labels.astype(np.int64),
        mean=mean,
        std=std,
        train_client_ids=train_ids,
        test_client_ids=test_ids,
        notes=splits.notes,
    )


def _own_constants(config: DataConfig, num_channels: int) -> Constants | None:
    if config.mean is None or config.std is None:
        return None
    if len(config.mean) != num_channels:
        problem = f"the inputs have {counted(num_channels, 'channel or feature', 'channels or features')}"
        raise DataError("data.mean", config.mean, problem, "give one number for each of them")
    return config.mean, config.std


def channel_statistics(images: Images) -> Constants:
    """Return mean and standard deviation by channel, or by feature of vectors [N, F]; a deviation of 0 becomes 1.

    A uint8 value counts as pixel / 255.
    """
    means, stds = [], []
    for channel in range(images.shape[1]):
        plane = images[:, channel]
        if plane.dtype == np.uint8:
            levels = np.arange(256) / 255.0
            share = np.bincount(plane.ravel(), minlength=256) / plane.size
            mean = float(share @ levels)
            std = float(np.sqrt(share @ (levels - mean) ** 2))
        else:
            mean, std = float(plane.mean(dtype=np.float64)), float(plane.std(dtype=np.float64))
        means.append(mean)
        stds.append(std if std > 0.0 else 1.0)
    return tuple(means), tuple(stds)


def _numbered(
    config: DataConfig, train: LoadedPart, test: LoadedPart | None
) -> tuple[LoadedPart, LoadedPart | None]:
    """Return the parts with integer labels. Names are numbered in sorted order of the training part's names."""
    for part, rows in (("training", train), ("test", test)):
        if rows is not None:
            _check_labels(config, part, rows)
    if test is not None and (train.labels.dtype.kind == "U") != (test.labels.dtype.kind == "U"):
        kinds = [
            f"{'names' if rows.labels.dtype.kind == 'U' else 'numbers'}{_source(rows)}"
            for rows in (train, test)
        ]
        problem = f"the training labels are {kinds[0]}, but the test labels are {kinds[1]}"
        raise _unusable(config, problem, "use names in both parts, or numbers in both parts")
    if train.labels.dtype.kind != "U":
        return train, test
    names, numbers = np.unique(train.labels, return_inverse=True)
    train = replace(train, labels=numbers)
    if test is None:
        return train, None
    if (unknown := np.setdiff1d(test.labels, names)).size:
        problem = f"test label {unknown[0]}{_source(test)} has no training sample"
        raise _unusable(config, problem, "add training samples of this label, or remove its test samples")
    return train, replace(test, labels=np.searchsorted(names, test.labels))


def _check_labels(config: DataConfig, part: str, rows: LoadedPart) -> None:
    if not len(rows.labels):
        raise _unusable(config, f"there is no {part} sample", f"add {part} samples")
    if len(rows.labels) != len(rows.images):
        problem = f"{counted(len(rows.images), f'{part} sample')} but {counted(len(rows.labels), 'label')}"
        raise _unusable(config, problem, "give each sample one label")
    if rows.labels.dtype.kind not in "iuU":
        problem = f"the {part} labels{_source(rows)} are {rows.labels.dtype}"
        raise _unusable(config, problem, "use integers or names")


def _num_classes(config: DataConfig, train: LoadedPart, test: LoadedPart | None) -> int:
    classes = np.unique(train.labels)
    if not np.array_equal(classes, np.arange(len(classes))):
        found = ", ".join(map(str, classes[:8])) + (", ..." if len(classes) > 8 else "")
        problem = f"the training labels{_source(train)} are {found}"
        raise _unusable(config, problem, "number the classes 0, 1, 2, ... without a gap")
    if len(classes) < 2:
        problem = f"all {len(train.labels)} training samples{_source(train)} are of one class"
        raise _unusable(config, problem, "use samples of at least two classes")
    if test is not None:
        unknown = np.setdiff1d(test.labels, classes)
        if unknown.size:
            problem = f"test label {unknown[0]}{_source(test)} has no training sample"
            raise _unusable(config, problem, f"use only labels 0 to {len(classes) - 1}")
    return len(classes)


def _source(rows: LoadedPart) -> str:
    return f" ({rows.label_source})" if rows.label_source else ""


def _hold_out(config: DataConfig, rows: LoadedPart) -> tuple[LoadedPart, LoadedPart]:
    """Split the rows into a training and a test part."""
    by = rows.labels if rows.client_ids is None else rows.client_ids
    _, groups = np.unique(by, return_inverse=True)
    order, sizes = group_rows(groups, int(groups.max()) + 1, np.random.default_rng(_HOLDOUT_SEED))
    num_test = np.maximum(np.rint(config.test_fraction * sizes), 1).astype(np.int64)
    in_test = np.zeros(len(groups), dtype=np.bool_)
    in_test[order[ranks(sizes) < np.repeat(np.minimum(num_test, sizes - 1), sizes)]] = True
    if not in_test.any():
        kind = "class" if rows.client_ids is None else "client"
        raise _unusable(config, f"no {kind} has a second sample to hold out for testing", "add a test part")
    train = rows.select(~in_test)
    lost = np.setdiff1d(rows.labels[in_test], train.labels)
    if lost.size:
        problem = f"class {lost[0]} has no training sample after holding out a test part"
        raise _unusable(config, problem, "add a test part")
    return train, rows.select(in_test)


def _contiguous(images: Images) -> Images:
    return images if images.flags.c_contiguous else images.copy(order="C")


def _resized(rows: LoadedPart, size: int) -> LoadedPart:
    if rows.images.shape[2:] == (size, size):
        return rows
    from orchestrator.data.loaders.images import resize

    return replace(rows, images=resize(rows.images, size))


def _dense_ids(
    config: DataConfig, train: NDArray[np.generic] | None, test: NDArray[np.generic] | None
) -> tuple[Int64 | None, Int64 | None]:
    if train is None:
        return None, None
    known, train_ids = np.unique(train, return_inverse=True)
    if test is None:
        return train_ids.astype(np.int64), None
    if (train.dtype.kind == "U") != (test.dtype.kind == "U"):
        problem = "client ids are names in one part and numbers in the other part"
        raise _unusable(config, problem, "use names in both parts, or numbers in both parts")
    positions = np.minimum(np.searchsorted(known, test), len(known) - 1)
    return train_ids.astype(np.int64), np.where(known[positions] == test, positions, -1).astype(np.int64)


def _unusable(config: DataConfig, problem: str, remedy: str) -> DataError:
    if config.root is None:
        return DataError("data.name", config.name, problem, remedy)
    return DataError("data.root", config.root, problem, remedy)


def _reject_image_keys(config: DataConfig) -> None:
    for key, value in (("augment", config.augment or None), ("image_size", config.image_size)):
        if value is not None:
            raise DataError(
                f"data.{key}", value, "this key is for images, but the data has vectors", "leave it out"
            )
