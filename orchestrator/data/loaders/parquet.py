"""Loads Parquet files in the Hugging Face image format: an image column, a label column and optional client ids.

- The image column is a struct with `bytes` and `path`. The loader uses `path`, relative to the file's folder, when
  `bytes` is null.
- The label column is `data.label_column`, or the column named label, labels or fine_label. It contains whole numbers,
  booleans or names, also as categories.
- `parquet_files` chooses the files.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.images import EncodedImages, Source, decode_parts
from orchestrator.data.loaders.locate import existing_root, require_regular, require_size
from orchestrator.data.loaders.parquet_files import find_files
from orchestrator.data.loaders.values import column_values
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError

if TYPE_CHECKING:
    import pyarrow

#: rows that are read at a time
_MAX_BATCH = 1024
_LABEL_NAMES = ("label", "labels", "fine_label")

Values = NDArray[np.generic]


class ImageColumns(NamedTuple):
    """The names of the columns that a data set of images has; `client` None: without client ids."""

    image: str
    label: str
    client: str | None


class _ParquetPart(NamedTuple):
    """The rows of all files of a part; `client_ids` is None when a file has no client ids."""

    encoded: EncodedImages
    labels: Values
    client_ids: Values | None
    label_source: str


def load(config: DataConfig) -> Splits:
    """Load uint8 images and labels. Raises DataError for files or columns that are missing or ambiguous."""
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
    """Read the files of a part. Client ids are optional unless `needs_client`."""
    sources: list[Source] = []
    origins: list[str] = []
    labels: list[Values] = []
    ids: list[Values] = []
    for file in files:
        require_regular(config, file)
        table, columns = _read(config, file, needs_client)
        cells = table.column(columns.image).to_pylist()
        sources += [image_source(config, cell, file, row) for row, cell in enumerate(cells)]
        origins += [f"row {row} of {file.name}" for row in range(table.num_rows)]
        labels.append(column_values(table, columns.label, "data.label_column", file.name))
        if columns.client is not None:
            ids.append(column_values(table, columns.client, "data.client_column", file.name))
    return _ParquetPart(
        EncodedImages(sources, origins),
        _joined(labels, files, "data.label_column", columns.label),
        _joined(ids, files, "data.client_column", columns.client) if len(ids) == len(files) else None,
        f"column {columns.label} of {files[0].name}",
    )


def _read(config: DataConfig, file: Path, needs_client: bool) -> tuple["pyarrow.Table", ImageColumns]:
    """Read the columns of a file that the run needs. Raises DataError for content above `data.max_gib`.

    A dictionary column may repeat one large value in many rows. The loader therefore reads small batches and counts
    their bytes. Batches are so small that one batch stays within `data.max_gib` even if each row is as large as its
    row group.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file) as parquet:
            columns = image_columns(config, parquet.schema_arrow, file.name, needs_client)
            groups = [parquet.metadata.row_group(i).total_byte_size for i in range(parquet.num_row_groups)]
            require_size(config, max(groups, default=0), file.name)
            num_rows = int(config.max_gib * 2**30 / max(1, *groups))
            batches, num_bytes = [], 0
            names = dict.fromkeys(name for name in columns if name is not None)
            for batch in parquet.iter_batches(max(1, min(num_rows, _MAX_BATCH)), columns=[*names]):
                num_bytes += batch.nbytes
                require_size(config, num_bytes, file.name)
                batches.append(batch)
            schema = pyarrow.schema([parquet.schema_arrow.field(name) for name in names])
            return pyarrow.Table.from_batches(batches, None if batches else schema), columns
    except DataError:
        raise
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"is not a readable Parquet file ({error})"
        raise DataError("data.root", file, problem, "write the file again") from error


def image_columns(
    config: DataConfig, schema: "pyarrow.Schema", place: str, needs_client: bool
) -> ImageColumns:
    """Return the columns to read: those that the config names, else those with a conventional type or name.

    `place` names the file in messages. Raises DataError.
    """
    import pyarrow.types as types

    images = [f.name for f in schema if types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if len(images) != 1:
        problem = (
            f"{place} has {len(images)} image columns (structs with bytes and path); its columns are "
            f"{_list_columns(schema)}"
        )
        raise DataError("data.root", config.root, problem, "give the file one image column")
    client = config.client_column
    if needs_client:
        require_column("data.client_column", client, schema, place)
    elif client not in schema.names:
        client = None
    return ImageColumns(images[0], label_column(config, schema, place), client)


def label_column(config: DataConfig, schema: "pyarrow.Schema", place: str) -> str:
    """Return `data.label_column`, else the one column with a conventional name. Raises DataError without one."""
    require_column("data.label_column", config.label_column, schema, place)
    if config.label_column is not None:
        return config.label_column
    names = [name for name in _LABEL_NAMES if name in schema.names and name != config.client_column]
    if len(names) == 1:
        return names[0]
    found = f"the label columns {', '.join(names)}" if names else f"no column {', '.join(_LABEL_NAMES)}"
    problem = f"{place} has {found}; its columns are {_list_columns(schema)}"
    raise DataError("data.label_column", None, problem, "set it to the name of the label column")


def require_column(field: str, column: str | None, schema: "pyarrow.Schema", place: str) -> None:
    """Raise DataError, with the columns of the file, for a column that does not exist; None is accepted."""
    if column is not None and column not in schema.names:
        problem = f"{place} has only the columns {', '.join(schema.names)}"
        raise DataError(field, column, problem, "name one of these columns")


def _list_columns(schema: "pyarrow.Schema") -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)


def image_source(config: DataConfig, cell: dict[str, Any] | None, file: Path, row: int) -> Source:
    """Return the bytes of an image, else its path, else empty bytes, which the decoder rejects.

    Raises DataError for a path that leaves the file's folder: a data set must not name other files of the user.
    """
    if cell is None:
        return b""
    if cell["bytes"] is None and cell.get("path"):
        path = Path(os.path.realpath(file.parent / str(cell["path"])))
        if not path.is_relative_to(os.path.realpath(file.parent)):
            problem = f"row {row} of {file.name} names the image {cell['path']} outside the file's folder"
            raise DataError("data.root", config.root, problem, "use paths inside the folder, or image bytes")
        return path
    return cell["bytes"] or b""


def _joined(values: Sequence[Values], files: Sequence[Path], field: str, column: object) -> Values:
    """Return the values of all files. Raises DataError for numbers in one file and strings in another file."""
    kinds = ["strings" if part.dtype.kind == "U" else "numbers" for part in values]
    for kind, file in zip(kinds, files, strict=True):
        if kind != kinds[0]:
            problem = f"the column contains {kinds[0]} in {files[0].name}, but {kind} in {file.name}"
            raise DataError(field, column, problem, "use numbers in all files, or strings in all files")
    return np.concatenate(values)
