"""Parquet files after the Hugging Face image convention: an image column, a label column, maybe client ids.

The image column is found by type: a struct with `bytes` (and `path`, used where `bytes` is null, relative to
the file's folder). The label column is `data.label_column`, or the one called label, labels or fine_label; it
holds whole numbers, truth values or names, as categories or not. `parquet_files` says which files are read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import Encoded, Source, decode_parts
from orchestrator.data.loaders.locate import existing_root
from orchestrator.data.loaders.parquet_files import find_files
from orchestrator.data.loaders.values import integers_or_names
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_LABEL_NAMES = ("label", "labels", "fine_label")

Values = NDArray[np.generic]


class _Columns(NamedTuple):
    image: str
    label: str
    client: str | None


class _ParquetPart(NamedTuple):
    """The rows of all files of a part; `client_ids` None: a file has none."""

    encoded: Encoded
    labels: Values
    client_ids: Values | None
    label_source: str


def load(config: DataConfig) -> Splits:
    """uint8 images and labels; raises DataError for files or columns that are missing or ambiguous."""
    root = existing_root(config, "a folder with train*.parquet, or one .parquet file")
    files = find_files(root)
    parts = [_read_part(config, files.train, needs_client=True)]
    if files.test:
        parts.append(_read_part(config, files.test, needs_client=False))
    images, notes = decode_parts(config, [part.encoded for part in parts])
    rows = [
        LoadedPart(pixels, part.labels, part.client_ids, part.label_source)
        for pixels, part in zip(images, parts, strict=True)
    ]
    return Splits(rows[0], rows[1] if len(rows) > 1 else None, notes=(*notes, *files.notes))


def _read_part(config: DataConfig, files: Sequence[Path], needs_client: bool) -> _ParquetPart:
    """Read files one after another. A test part need not have client ids."""
    sources: list[Source] = []
    origins: list[str] = []
    labels: list[Values] = []
    ids: list[Values] = []
    for file in files:
        table = _read(config, file)
        columns = _columns(config, table.schema, file, needs_client)
        sources += [_source(cell, file) for cell in table.column(columns.image).to_pylist()]
        origins += [f"row {row} of {file.name}" for row in range(table.num_rows)]
        labels.append(_values(table, columns.label, "data.label_column", file))
        if columns.client is not None:
            ids.append(_values(table, columns.client, "data.client_column", file))
    return _ParquetPart(
        Encoded(sources, origins),
        _joined(labels, files, "data.label_column", columns.label),
        _joined(ids, files, "data.client_column", columns.client) if len(ids) == len(files) else None,
        f"column {columns.label} of {files[0].name}",
    )


def _read(config: DataConfig, file: Path) -> "pyarrow.Table":
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(file).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            "data.root", file, f"is not a readable Parquet file ({error})", "write it again"
        ) from error


def _columns(config: DataConfig, schema: "pyarrow.Schema", file: Path, needs_client: bool) -> _Columns:
    """The columns to read: the named ones, else the conventional ones, never any other."""
    import pyarrow.types as types

    images = [f.name for f in schema if types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if len(images) != 1:
        problem = f"{file.name} has {len(images)} image columns (a struct with bytes and path); it has {_found(schema)}"
        raise DataError("data.root", config.root, problem, "give it one")
    client = config.client_column
    if needs_client:
        _require_column("data.client_column", client, schema, file)
    elif client not in schema.names:
        client = None
    return _Columns(images[0], _label_column(config, schema, file), client)


def _label_column(config: DataConfig, schema: "pyarrow.Schema", file: Path) -> str:
    _require_column("data.label_column", config.label_column, schema, file)
    if config.label_column is not None:
        return config.label_column
    named = [name for name in _LABEL_NAMES if name in schema.names and name != config.client_column]
    if len(named) == 1:
        return named[0]
    which = f"the label columns {', '.join(named)}" if named else f"no column {', '.join(_LABEL_NAMES)}"
    problem = f"{file.name} has {which}; it has {_found(schema)}"
    raise DataError("data.label_column", None, problem, "set it to the column of the labels")


def _require_column(field: str, column: str | None, schema: "pyarrow.Schema", file: Path) -> None:
    if column is not None and column not in schema.names:
        problem = f"{file.name} has only the columns {', '.join(schema.names)}"
        raise DataError(field, column, problem, "name one of them")


def _found(schema: "pyarrow.Schema") -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def _source(cell: dict[str, Any] | None, file: Path) -> Source:
    """The bytes of an image, else its path, else nothing, which no decoder takes."""
    if cell is None:
        return b""
    if cell["bytes"] is None and cell.get("path"):
        return file.parent / str(cell["path"])
    return cell["bytes"] or b""


def _values(table: "pyarrow.Table", column: str, field: str, file: Path) -> Values:
    """A column as integers or strings. Raises DataError where a value is missing or of another type."""
    import pyarrow.types as types

    cells = table.column(column)
    if cells.null_count:
        problem = f"{file.name} has {cells.null_count} rows without a value"
        raise DataError(field, column, problem, "fill or drop them")
    kind = cells.type.value_type if types.is_dictionary(cells.type) else cells.type
    source = f"column {column} of {file.name}"
    is_text = types.is_string(kind) or types.is_large_string(kind)
    if not (is_text or types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind)):
        raise DataError(field, column, f"{source} holds {cells.type} values", "use integers or strings")
    values = np.asarray(cells.to_pylist(), dtype=np.str_ if is_text else None)
    return integers_or_names(values, field, column, source)


def _joined(values: Sequence[Values], files: Sequence[Path], field: str, column: object) -> Values:
    """The values of all files. Numbers in one file and strings in another are not mixed: DataError."""
    kinds = ["strings" if part.dtype.kind == "U" else "numbers" for part in values]
    for kind, file in zip(kinds, files, strict=True):
        if kind != kinds[0]:
            problem = f"{files[0].name} holds {kinds[0]} there, {file.name} {kind}"
            raise DataError(field, column, problem, "make them alike")
    return np.concatenate(values)
