"""Turns named arrays into the parts of a data set: x and y, and optionally x_test, y_test, client_ids, client_ids_test.

- `x` is [N, F] (vectors), [N, H, W] (grey images), [N, C, H, W] or [N, H, W, C]. The channels are the second axis,
  except when only the last axis has 1 or 3 entries.
- Pixels are integers from 0 to 255, or floats, which are not scaled. Vectors become float32.
- `y` is a vector of classes 0, 1, 2, ... or of class names.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.data.dataset import Images
from orchestrator.data.loaders.parts import join_names
from orchestrator.data.loaders.values import integers_or_names
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError
from orchestrator.formatting import counted

_TRAIN = ("x", "y", "client_ids")
_TEST = ("x_test", "y_test", "client_ids_test")
ARRAY_NAMES = (*_TRAIN, *_TEST)


@dataclass(frozen=True, slots=True)
class ArraySource:
    """Where arrays come from: the config key `field` with its `value`. `place` completes "array x of" in messages.

    `layout` says what the user shall provide if an array is missing.
    """

    field: str
    value: object
    place: str
    layout: str

    def error(self, problem: str, remedy: str) -> DataError:
        """Return the error with this problem and remedy."""
        return DataError(self.field, self.value, problem, remedy)


def splits_of(source: ArraySource, arrays: Mapping[str, NDArray[np.generic]]) -> Splits:
    """Return the training part, and the test part if an array has its name; a note names all other arrays.

    Raises DataError for missing arrays, and for arrays of other shapes and types.
    """
    used, test = list(_TRAIN), None
    train = _rows(source, arrays, *_TRAIN)
    if "x_test" in arrays or "y_test" in arrays:
        used += _TEST
        test = _rows(source, arrays, *_TEST)
    unused = [name for name in arrays if name not in used]
    notes = _channel_note(train)
    if unused:
        notes += (f"left out of {source.value}: {join_names(unused)} (not {', '.join(used)})",)
    return Splits(train, test, notes=notes)


def _channel_note(train: LoadedPart) -> tuple[str, ...]:
    """Tell how images with an unusual number of channels are read, since H, W and C are only numbers."""
    if train.images.ndim != 4 or train.images.shape[1] in (1, 3):
        return ()
    channels, height, width = train.images.shape[1:]
    return (f"x: images of {height}x{width} pixels with {channels} channels, [N, C, H, W]",)


def _rows(
    source: ArraySource, arrays: Mapping[str, NDArray[np.generic]], x: str, y: str, ids: str
) -> LoadedPart:
    for name in (x, y):
        if name not in arrays:
            found = join_names(sorted(arrays)) or "no arrays"
            raise source.error(f"the array {name} is missing; {source.place} contains {found}", source.layout)
    inputs, labels, client_ids = _inputs(source, x, arrays[x]), arrays[y], arrays.get(ids)
    noun = "vector" if inputs.ndim == 2 else "image"
    if labels.shape != (len(inputs),):
        problem = f"{y} has shape {labels.shape} for {counted(len(inputs), noun)}"
        raise source.error(problem, f"give each {noun} one label")
    if client_ids is not None and client_ids.shape != labels.shape:
        problem = f"{ids} is {client_ids.dtype}{client_ids.shape}"
        raise source.error(problem, f"give one integer or string for each {noun}")
    label_source = f"array {y} of {source.place}"
    return LoadedPart(
        inputs,
        integers_or_names(labels, source.field, source.value, label_source),
        None
        if client_ids is None
        else integers_or_names(client_ids, source.field, source.value, f"array {ids} of {source.place}"),
        label_source,
    )


def _inputs(source: ArraySource, name: str, array: NDArray[np.generic]) -> Images:
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim not in (2, 4) or not array.size:
        raise source.error(
            f"{name} has shape {array.shape}", "use [N, F], [N, H, W], [N, C, H, W] or [N, H, W, C]"
        )
    if array.ndim == 2:
        return finite_floats(source, name, array)
    return _pixels(source, name, array)


def _pixels(source: ArraySource, name: str, array: NDArray[np.generic]) -> Images:
    if np.issubdtype(array.dtype, np.integer):
        if int(array.min()) < 0 or int(array.max()) > 255:
            raise source.error(f"{name} has integers outside 0 to 255", "use uint8, or floats")
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise source.error(f"{name} is {array.dtype}", "use uint8, or floats")
    return finite_floats(source, name, array)


def finite_floats(source: ArraySource, name: str, array: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return numbers or truth values as float32 of the same shape.

    Raises DataError for other types and for values that are not finite.
    """
    if array.dtype.kind not in "biuf":
        raise source.error(f"{name} is {array.dtype}", "use integers or floats")
    with np.errstate(over="ignore"):  # the check below rejects values that overflow
        floats = array.astype(np.float32)
    if not np.isfinite(floats).all():
        raise source.error(f"{name} has values that are not finite", "replace these values")
    return floats
