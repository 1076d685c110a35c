"""Labels and client ids of whatever type a file holds, as integers or strings."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError

_LARGEST = 2.0**53  # beyond it, not every float stands for one integer


def integers_or_names(
    values: NDArray[np.generic], field: str, value: object, source: str
) -> NDArray[np.generic]:
    """Integers and strings as they are, truth values as 0 and 1, whole floats as integers.

    `source` names the file and the column or array. Raises DataError, with the first value that does not fit.
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
        problem = f"{source} holds {values.dtype} values that are not whole, such as {floats[bad][0]:g}"
        raise DataError(field, value, problem, "use integers or strings")
    raise DataError(field, value, f"{source} holds {values.dtype} values", "use integers or strings")
