"""Loads the rows of CSV or Parquet files as vectors, from columns that the config names.

- The label column is `data.label_column`, or the column named label, labels or fine_label.
- The features are `data.feature_columns`, or all columns except label and client ids, in the order of the file.
- A column of numbers or truth values is one feature. A column of texts becomes one feature for each text, 1 where the
  row has this text, with the texts of the training part in sorted order.
- `parquet_files` chooses the files.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.arrays import ArraySource, finite_floats
from orchestrator.data.loaders.locate import existing_root, require_regular, require_size
from orchestrator.data.loaders.parquet import label_column, require_column
from orchestrator.data.loaders.parquet_files import find_files
from orchestrator.data.loaders.parts import join_names
from orchestrator.data.loaders.values import column_values
from orchestrator.data.splits import LoadedPart, Splits
from orchestrator.errors import DataError
from orchestrator.formatting import counted

if TYPE_CHECKING:
    import pyarrow

_LAYOUT = "a .csv or .parquet file, or a folder with train.csv or train.parquet"
#: a column with more different texts is probably an identifier
_MAX_TEXTS = 1000


def load(config: DataConfig) -> Splits:
    """Load vectors, float32[N, F], and labels. Raises DataError for missing files, columns and values."""
    root = existing_root(config, _LAYOUT)
    suffix = _suffix(root)
    files = find_files(root, suffix)
    tables = [(_read_all(config, part), part[0].name) for part in (files.train, files.test) if part]
    return splits_of_tables(config, tables, files.notes)


def splits_of_tables(
    config: DataConfig, tables: "Sequence[tuple[pyarrow.Table, str]]", notes: tuple[str, ...] = ()
) -> Splits:
    """Return the parts of a training table and an optional test table, each with the name of its file.

    Raises DataError for missing columns and values, and for columns that are neither numbers nor texts.
    """
    train, place = tables[0]
    label = label_column(config, train.schema, place)
    require_column("data.client_column", config.client_column, train.schema, place)
    features = _feature_columns(config, train, label, place)
    texts = {name: _texts(train, name, place) for name in features if _is_text(train, name)}
    parts = [_part(config, table, where, label, features, texts) for table, where in tables]
    wide = [f"{name} ({len(known)})" for name, known in texts.items()]
    if wide:
        notes += (f"columns of texts, read as one feature for each text: {join_names(wide)}",)
    return Splits(parts[0], parts[1] if len(parts) > 1 else None, notes=notes)


def _suffix(root: Path) -> str:
    if root.is_file() and root.suffix.lower() not in (".csv", ".parquet"):
        raise DataError("data.root", root, "the file is neither .csv nor .parquet", f"point it at {_LAYOUT}")
    if root.is_file():
        return root.suffix.lower()
    return ".csv" if any(root.glob("*.csv")) else ".parquet"


def _read_all(config: DataConfig, files: Sequence[Path]) -> "pyarrow.Table":
    """Read all files of a part. Raises DataError for unreadable files, other columns and data above `data.max_gib`."""
    import pyarrow

    tables: list[pyarrow.Table] = []
    for file in files:
        require_regular(config, file)
        tables.append(_read(config, file, sum(table.nbytes for table in tables)))
        if tables[-1].schema.names != tables[0].schema.names:
            problem = f"{file.name} has other columns than {files[0].name}"
            raise DataError("data.root", config.root, problem, "give all files of a part the same columns")
    try:
        return pyarrow.concat_tables(tables, promote_options="permissive")
    except pyarrow.ArrowException as error:
        problem = f"{files[0].name} and further files have columns of other types ({error})"
        raise DataError("data.root", config.root, problem, "give all files the same types") from error


def _read(config: DataConfig, file: Path, num_bytes: int) -> "pyarrow.Table":
    """Read a file in small batches, which are counted after the `num_bytes` of earlier files."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    batches: list[pyarrow.RecordBatch] = []
    try:
        if file.suffix.lower() == ".csv":
            reader = pyarrow.csv.open_csv(file)
            schema, chunks = reader.schema, iter(reader)
        else:
            parquet = pyarrow.parquet.ParquetFile(file)
            groups = [parquet.metadata.row_group(i).total_byte_size for i in range(parquet.num_row_groups)]
            require_size(config, max(groups, default=0), file.name)
            schema, chunks = parquet.schema_arrow, parquet.iter_batches(1024)
        for batch in chunks:
            num_bytes += batch.nbytes
            require_size(config, num_bytes, file.name)
            batches.append(batch)
        return pyarrow.Table.from_batches(batches, schema)
    except (OSError, pyarrow.ArrowException) as error:
        problem = f"{file.name} is not a readable table ({error})"
        raise DataError("data.root", config.root, problem, "write the file again") from error


def _feature_columns(config: DataConfig, table: "pyarrow.Table", label: str, place: str) -> list[str]:
    given = config.feature_columns
    for name in given or ():
        require_column("data.feature_columns", name, table.schema, place)
        if name in (label, config.client_column):
            problem = "this column contains the labels or the client ids"
            raise DataError("data.feature_columns", name, problem, "leave it out")
    features = (
        [*given] if given else [n for n in table.schema.names if n not in (label, config.client_column)]
    )
    if not features:
        raise DataError(
            "data.feature_columns", None, f"{place} has no other column", "add columns of features"
        )
    return features


def _is_text(table: "pyarrow.Table", name: str) -> bool:
    import pyarrow.types as types

    kind = table.schema.field(name).type
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind))


def _texts(table: "pyarrow.Table", name: str, place: str) -> NDArray[np.generic]:
    """Return the different texts of a column in sorted order. Raises DataError for more than `_MAX_TEXTS`."""
    texts = np.unique(column_values(table, name, "data.feature_columns", place))
    if len(texts) > _MAX_TEXTS:
        problem = f"column {name} of {place} contains {len(texts)} different texts"
        remedy = "name the other columns in data.feature_columns"
        raise DataError("data.feature_columns", name, problem, remedy)
    return texts


def _part(
    config: DataConfig,
    table: "pyarrow.Table",
    place: str,
    label: str,
    features: Sequence[str],
    texts: dict[str, NDArray[np.generic]],
) -> LoadedPart:
    for name in (label, *features):
        field = "data.label_column" if name == label else "data.feature_columns"
        require_column(field, name, table.schema, place)
    widths = sum(len(texts.get(name, "1")) for name in features)
    require_size(config, 4.0 * widths * table.num_rows, place)
    columns = [_features(table, name, place, texts.get(name)) for name in features]
    client = config.client_column
    has_ids = client is not None and client in table.schema.names
    return LoadedPart(
        np.concatenate(columns, axis=1),
        column_values(table, label, "data.label_column", place),
        column_values(table, client, "data.client_column", place) if has_ids and client else None,
        f"column {label} of {place}",
    )


def _features(
    table: "pyarrow.Table", name: str, place: str, texts: NDArray[np.generic] | None
) -> NDArray[np.float32]:
    """Return a column as float32[N, 1], or float32[N, T] for T known texts; an unknown text gives a row of zeros."""
    if texts is not None:
        if not _is_text(table, name):
            problem = f"column {name} of {place} contains numbers, but texts in the training part"
            raise DataError("data.feature_columns", name, problem, "use texts or numbers in both parts")
        values = column_values(table, name, "data.feature_columns", place)
        one_hot: NDArray[np.float32] = (values[:, None] == texts[None, :]).astype(np.float32)
        return one_hot
    cells = table.column(name)
    if cells.null_count:
        problem = f"column {name} of {place} has {counted(cells.null_count, 'row')} without a value"
        raise DataError("data.feature_columns", name, problem, "add the values, or leave the column out")
    source = ArraySource("data.feature_columns", name, place, "")
    return finite_floats(source, f"column {name} of {place}", np.asarray(cells.to_numpy()))[:, None]
