"""The rows of a trace file: reads cells as numbers or texts, and raises errors that name the cell.

The first row below the heading is row 1. Legend: R = rows, N = clients, numbered in order of appearance.
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
    """The R rows of a trace file: `client`, int64[R], is each row's client; `ids` are the N clients' names."""

    file: Path
    table: "pyarrow.Table"
    client: NDArray[np.int64]
    ids: Sequence[str]

    def has(self, *columns: str) -> bool:
        """Return whether the file has all these columns."""
        return set(columns) <= set(self.table.column_names)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """Return the column as float64[R], all finite. Raises ConfigError for the first cell that is no number."""
        cells = self.table.column(column)
        numbers = _as_numbers(cells)
        if numbers is None:
            numbers = np.array([_as_number(cell) for cell in cells.to_pylist()])
        self.require(np.isfinite(numbers), column, "is not a number", "write a number in every row")
        return numbers

    def texts(self, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """Return codes, int64[R], and the distinct texts that they index, in order of appearance.

        An empty cell has the text "".
        """
        return _texts(self.file, self.table, column)

    def require(self, valid: NDArray[np.bool_], column: str, problem: str, remedy: str) -> None:
        """Raise ConfigError for the first row whose value in `column` is not `valid`, bool[R]."""
        if valid.all():
            return
        row = int(valid.argmin())
        where = f"{self.file}: row {row + 1}, client {self.ids[self.client[row]]}: {column}"
        value = self.table.column(column)[row].as_py()
        raise ConfigError(where, "(nothing)" if value in (None, "") else value, problem, remedy)


def read_table(file: Path, text_columns: Sequence[str]) -> "pyarrow.Table":
    """Read a CSV file, with the cells of `text_columns` as text, or a Parquet file. Raises ConfigError."""
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
        raise ConfigError("trace", file, "the file has no rows", "add a row for each device")
    return table


def rows_by_client(file: Path, table: "pyarrow.Table") -> TraceRows:
    """Return the rows with the clients that the column `client` names. Raises ConfigError for an empty cell."""
    client, ids = _texts(file, table, "client")
    if "" in ids:
        row = int(np.argmax(client == ids.index("")))
        field = f"{file}: row {row + 1}: client"
        raise ConfigError(field, "(nothing)", "the row names no client", "write the client's id")
    return TraceRows(file, table, client, ids)


def _texts(file: Path, table: "pyarrow.Table", column: str) -> tuple[NDArray[np.int64], list[str]]:
    import pyarrow
    import pyarrow.compute as compute

    cells = table.column(column)
    try:
        texts = compute.utf8_trim_whitespace(cells.cast(pyarrow.string()).fill_null(""))
    except pyarrow.ArrowException as error:
        problem = f"its cells have the type {cells.type}"
        raise ConfigError(f"{file}: column", column, problem, "write numbers or text") from error
    coded = texts.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary.to_pylist()


def _as_numbers(cells: "pyarrow.ChunkedArray") -> NDArray[np.float64] | None:
    """Return the cells as float64[R], NaN for an empty cell; None when a cell is not a number."""
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
