"""Loads the arrays of one .npz file: x and y, and optionally x_test, y_test, client_ids and client_ids_test.

`arrays` describes their shapes and types.
"""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.arrays import ArraySource, splits_of
from orchestrator.data.loaders.locate import existing_root, require_regular, require_size
from orchestrator.data.splits import Splits
from orchestrator.errors import DataError

_LAYOUT = "an .npz file with arrays x and y, or a folder with one such file"


def load(config: DataConfig) -> Splits:
    """Load images, uint8 or float32, [N, C, H, W], or vectors, float32[N, F].

    Raises DataError for missing arrays, and for other shapes.
    """
    root = existing_root(config, _LAYOUT)
    files = [root] if root.is_file() else sorted(root.glob("*.npz"))
    if len(files) != 1:
        problem = f"the folder contains {len(files)} .npz files"
        raise DataError("data.root", root, problem, f"point it at {_LAYOUT}")
    require_regular(config, files[0])
    source = ArraySource("data.root", files[0], files[0].name, f"point it at {_LAYOUT}")
    return splits_of(source, _read(config, files[0]))


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
