"""Loads the arrays of one .npz file: x and y, and optionally x_test, y_test, client_ids and client_ids_test.

- `x` is [N, H, W] (grey), [N, C, H, W] or [N, H, W, C], with C of 1 or 3. The channels are the second axis when it has
  1 or 3 entries, else the last axis.
- Pixels are integers from 0 to 255, or floats, which the loader does not scale.
- `y` is a vector of classes 0, 1, 2, ... or of class names.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Images
from orchestrator.data.loaders.locate import existing_root, require_regular, require_size
from orchestrator.data.loaders.parts import join_names
from orchestrator.data.loaders.values import integers_or_names
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError
from orchestrator.formatting import counted

_LAYOUT = "an .npz file with arrays x and y, or a folder with one such file"

_TRAIN = ("x", "y", "client_ids")
_TEST = ("x_test", "y_test", "client_ids_test")


def load(config: DataConfig) -> Splits:
    """Load images, uint8 or float32, [N, C, H, W]. Raises DataError for missing arrays, and for other shapes."""
    root = existing_root(config, _LAYOUT)
    files = [root] if root.is_file() else sorted(root.glob("*.npz"))
    if len(files) != 1:
        problem = f"the folder contains {len(files)} .npz files"
        raise DataError("data.root", root, problem, f"point it at {_LAYOUT}")
    require_regular(config, files[0])
    arrays = _read(config, files[0])
    used, test = list(_TRAIN), None
    train = _rows(files[0], arrays, *_TRAIN)
    if "x_test" in arrays or "y_test" in arrays:
        used += _TEST
        test = _rows(files[0], arrays, *_TEST)
    unused = [name for name in arrays if name not in used]
    notes = (f"left out of {files[0]}: {join_names(unused)} (not {', '.join(used)})",) if unused else ()
    return Splits(train, test, notes=notes)


def _read(config: DataConfig, file: Path) -> dict[str, NDArray[np.generic]]:
    try:
        with zipfile.ZipFile(file) as archive:
            require_size(config, sum(entry.file_size for entry in archive.infolist()), file.name)
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return dict(arrays)
    except DataError:
        raise
    except (OSError, ValueError, EOFError, TypeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        problem = f"is not a readable .npz file ({error})"
        raise DataError("data.root", file, problem, "write the file again") from error


def _rows(file: Path, arrays: dict[str, NDArray[np.generic]], x: str, y: str, ids: str) -> LoadedPart:
    for name in (x, y):
        if name not in arrays:
            found = join_names(sorted(arrays)) or "no arrays"
            problem = f"the array {name} is missing; the file contains {found}"
            raise DataError("data.root", file, problem, f"point it at {_LAYOUT}")
    images, labels, client_ids = _images(file, x, arrays[x]), arrays[y], arrays.get(ids)
    if labels.shape != (len(images),):
        problem = f"{y} has shape {labels.shape} for {counted(len(images), 'image')}"
        raise DataError("data.root", file, problem, "give each image one label")
    if client_ids is not None and client_ids.shape != labels.shape:
        problem = f"{ids} is {client_ids.dtype}{client_ids.shape}"
        raise DataError("data.root", file, problem, "give one integer or string for each image")
    source = f"array {y} of {file.name}"
    return LoadedPart(
        images,
        integers_or_names(labels, "data.root", file, source),
        None
        if client_ids is None
        else integers_or_names(client_ids, "data.root", file, f"array {ids} of {file.name}"),
        source,
    )


def _images(file: Path, name: str, array: NDArray[np.generic]) -> Images:
    if array.ndim == 3:
        array = array[:, None]
    elif array.ndim == 4 and array.shape[1] not in (1, 3) and array.shape[3] in (1, 3):
        array = array.transpose(0, 3, 1, 2)
    if array.ndim != 4 or array.shape[1] not in (1, 3) or not array.size:
        raise DataError(
            "data.root",
            file,
            f"{name} has shape {array.shape}",
            "use [N, H, W], [N, C, H, W] or [N, H, W, C], C 1 or 3",
        )
    return _pixels(file, name, array)


def _pixels(file: Path, name: str, array: NDArray[np.generic]) -> Images:
    if np.issubdtype(array.dtype, np.integer):
        if int(array.min()) < 0 or int(array.max()) > 255:
            raise DataError(
                "data.root", file, f"{name} has integers outside 0 to 255", "use uint8, or floats"
            )
        return array.astype(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise DataError("data.root", file, f"{name} is {array.dtype}", "use uint8, or floats")
    with np.errstate(over="ignore"):  # the check below rejects values that overflow
        images = array.astype(np.float32)
    if not np.isfinite(images).all():
        raise DataError("data.root", file, f"{name} has values that are not finite", "replace these values")
    return images
