"""Converts labels and client ids of any type to integers or strings."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError
from orchestrator.formatting import counted

if TYPE_CHECKING:
    import pyarrow

_LARGEST = 2.0**53  # above it, floats do not represent all integers


def integers_or_names(
    values: NDArray[np.generic], field: str, value: object, source: str
) -> NDArray[np.generic]:
    """Return integers and strings unchanged, booleans as 0 and 1, and whole floats as integers.

    Errors name `field`, `value` and `source`, the column or array in its file. Raises DataError for floats that are not
    whole, with the first such value, and for other types.
    """
    kind = values.dtype.kind
    if kind in "iuU":
        return values
    if kind == "b":
        return values.astype(np.int64)
    if kind == "f":
        floats = values.astype(np.float64)
        bad = ~((np.abs(floats) < _LARGEST) & (np.trunc(floats) == floats))
        if not bad.any():
            return floats.astype(np.int64)
        problem = f"{source} contains {values.dtype} values that are not whole, such as {floats[bad][0]:g}"
        raise DataError(field, value, problem, "use integers or strings")
    raise DataError(field, value, f"{source} contains {values.dtype} values", "use integers or strings")


def column_values(table: "pyarrow.Table", column: str, field: str, place: str) -> NDArray[np.generic]:
    """Return a column of a file as integers or strings. `field` and `place`, the file's name, are for messages.

    Raises DataError for a missing value, and for other types.
    """
    import pyarrow.types as types

    cells = table.column(column)
    if cells.null_count:
        problem = f"{place} has {counted(cells.null_count, 'row')} without a value"
        raise DataError(field, column, problem, "add the values, or remove these rows")
    kind = cells.type.value_type if types.is_dictionary(cells.type) else cells.type
    source = f"column {column} of {place}"
    is_text = types.is_string(kind) or types.is_large_string(kind)
    if not (is_text or types.is_integer(kind) or types.is_boolean(kind) or types.is_floating(kind)):
        raise DataError(field, column, f"{source} contains {cells.type} values", "use integers or strings")
    values = np.asarray(cells.to_pylist(), dtype=np.str_ if is_text else None)
    return integers_or_names(values, field, column, source)
