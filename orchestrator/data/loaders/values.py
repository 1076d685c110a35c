"""Converts labels and client ids of any type to integers or strings."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError

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
