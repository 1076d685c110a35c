"""A trace file's rows, by client: cells as numbers or codes, and errors that name the cell.

Rows are counted from 1, below the heading. Legend: R = rows, N = clients, numbered in order of appearance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True, eq=False)
class TraceRows:
    """The R rows of a file: `client` is int64[R], whose each of them is; `ids` are the N clients' own names."""

    file: Path
    table: "pyarrow.Table"
    client: NDArray[np.int64]
    ids: Sequence[str]

    def has(self, *columns: str) -> bool:
        """Whether the file has all these columns."""
        return set(columns) <= set(self.table.column_names)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """float64[R], all finite; ConfigError for the first cell that is no number."""
        cells = self.table.column(column)
        numbers = _as_numbers(cells)
        if numbers is None:
            numbers = np.array([_as_number(cell) for cell in cells.to_pylist()])
        self.require(np.isfinite(numbers), column, "is not a number", "write one in every row")
        return numbers

    def texts(self, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """int64[R] and the texts that it counts through, in order of appearance; "" where there is none."""
        return _texts(self.file, self.table, column)

    def require(self, holds: NDArray[np.bool_], column: str, problem: str, remedy: str) -> None:
        """ConfigError for the first row, if any, in which this does not hold of a column's value."""
        if holds.all():
            return
        row = int(holds.argmin())
        where = f"{self.file}: row {row + 1}, client {self.ids[self.client[row]]}: {column}"
        value = self.table.column(column)[row].as_py()
        raise ConfigError(where, "(nothing)" if value in (None, "") else value, problem, remedy)


def read_table(file: Path, text_columns: Sequence[str]) -> "pyarrow.Table":
    """The table in a CSV file, these columns of it as text, or in a Parquet file. Raises ConfigError."""
    import pyarrow
    from pyarrow import csv, parquet

    try:
        if file.suffix == ".parquet":
            table = parquet.ParquetFile(file).read()
        else:
            as_text = csv.ConvertOptions(column_types=dict.fromkeys(text_columns, pyarrow.string()))
            table = csv.read_csv(file, convert_options=as_text)
    except (OSError, pyarrow.ArrowException) as error:
        raise ConfigError("trace", file, f"cannot be read ({error})", "name a CSV or Parquet file") from error
    if not table.num_rows:
        raise ConfigError("trace", file, "it has no rows", "give it one for each device")
    return table


def by_client(file: Path, table: "pyarrow.Table") -> TraceRows:
    """Rows with the clients that the column `client` names. Raises ConfigError where it names none."""
    client, ids = _texts(file, table, "client")
    if "" in ids:
        row = int(np.argmax(client == ids.index("")))
        raise ConfigError(f"{file}: row {row + 1}: client", "(nothing)", "the row has no client", "name it")
    return TraceRows(file, table, client, ids)


def _texts(file: Path, table: "pyarrow.Table", column: str) -> tuple[NDArray[np.int64], list[str]]:
    import pyarrow
    import pyarrow.compute as compute

    cells = table.column(column)
    try:
        texts = compute.utf8_trim_whitespace(cells.cast(pyarrow.string()).fill_null(""))
    except pyarrow.ArrowException as error:
        problem = f"it holds {cells.type}"
        raise ConfigError(f"{file}: column", column, problem, "write numbers or text") from error
    coded = texts.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _as_numbers(cells: "pyarrow.ChunkedArray") -> NDArray[np.float64] | None:
    """float64[R], NaN where there is nothing; None where a cell is something else."""
    import pyarrow
    import pyarrow.compute as compute

    try:
        if pyarrow.types.is_string(cells.type):
            cells = compute.utf8_trim_whitespace(cells)
        return np.asarray(cells.cast(pyarrow.float64()).to_numpy(), dtype=np.float64)
    except pyarrow.ArrowException:
        return None


def _as_number(cell: object) -> float:
    try:
        return float(str(cell))
    except ValueError:
        return float("nan")
