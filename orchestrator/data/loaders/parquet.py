"""Parquet files after the Hugging Face image convention: an image column, a label column, maybe client ids.

The image column is found by type: a struct with `bytes` (and `path`, used where `bytes` is null, relative to
the file's folder). The label column is called label, labels or fine_label, or is the only integer column that
is not `data.client_column`. `data.root` is one file, or a folder with train*.parquet and, if there is a test
part, test*.parquet.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import Source, decode_all
from orchestrator.data.loaders.locate import existing_root
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_LABEL_NAMES = ("label", "labels", "fine_label")


def load(config: DataConfig) -> Splits:
    """uint8 images and labels; raises DataError for files or columns that are missing or ambiguous."""
    root = existing_root(config, "a folder with train*.parquet, or one .parquet file")
    if root.is_file():
        return Splits(_part(config, [root]))
    train_files, test_files = (sorted(root.glob(f"{part}*.parquet")) for part in ("train", "test"))
    if not train_files:
        raise DataError("data.root", root, "the folder holds no train*.parquet", "point it at one that does")
    train = _part(config, train_files)
    return Splits(train, _part(config, test_files, train) if test_files else None)


def _part(config: DataConfig, files: list[Path], train: LoadedPart | None = None) -> LoadedPart:
    """Read files one after another; the test part takes the form of `train` and need not have client ids."""
    sources: list[Source] = []
    labels: list[NDArray[np.generic]] = []
    ids: list[NDArray[np.generic]] = []
    origins: list[str] = []
    for file in files:
        table = _read(config, file)
        image, label, client = _columns(config, table.schema, file, needs_client=train is None)
        sources += [_source(cell, file) for cell in table.column(image).to_pylist()]
        origins += [f"row {row} of {file.name}" for row in range(table.num_rows)]
        labels.append(_values(table, label, "data.root", file))
        if client is not None:
            ids.append(_values(table, client, "data.client_column", file))
    pixels = decode_all(config, sources, origins.__getitem__, None if train is None else train.images)
    return LoadedPart(pixels, np.concatenate(labels), np.concatenate(ids) if len(ids) == len(files) else None)


def _read(config: DataConfig, file: Path) -> "pyarrow.Table":
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            "data.root", file, f"is not a readable Parquet file ({error})", "write it again"
        ) from error


def _columns(
    config: DataConfig, schema: "pyarrow.Schema", file: Path, needs_client: bool
) -> tuple[str, str, str | None]:
    """Names of the image, label and client columns."""
    import pyarrow.types as types

    images = [f.name for f in schema if types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if len(images) != 1:
        problem = f"{file.name} has {len(images)} image columns (a struct with bytes and path)"
        raise DataError("data.root", config.root, problem, "give it one")
    client = config.client_column
    if client is not None and client not in schema.names:
        if needs_client:
            problem = f"{file.name} has only the columns {', '.join(schema.names)}"
            raise DataError("data.client_column", client, problem, "name one of them")
        client = None
    integers = [f.name for f in schema if types.is_integer(f.type) and f.name != config.client_column]
    named = [name for name in _LABEL_NAMES if name in integers]
    if not named and len(integers) != 1:
        problem = f"{file.name} has no integer column called {', '.join(_LABEL_NAMES)}"
        raise DataError("data.root", config.root, problem, "call the label column `label`")
    return images[0], (named or integers)[0], client


def _source(cell: dict[str, Any] | None, file: Path) -> Source:
    """The bytes of an image, else its path, else nothing, which no decoder takes."""
    if cell is None:
        return b""
    if cell["bytes"] is None and cell.get("path"):
        return file.parent / str(cell["path"])
    return cell["bytes"] or b""


def _values(table: "pyarrow.Table", column: str, field: str, file: Path) -> NDArray[np.generic]:
    """A column of integers or strings. Raises DataError where a value is missing or of another type."""
    if table.column(column).null_count:
        raise DataError(field, column, f"{file.name} has rows without a value", "fill or drop them")
    values = np.asarray(table.column(column).to_pylist())
    if values.dtype.kind not in "iuU":
        raise DataError(field, column, f"{file.name} holds {values.dtype} there", "use integers or strings")
    return values
