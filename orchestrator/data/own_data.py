"""Loads a data set from a user's function, which a config names by its file or which another package offers."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.loaders.arrays import ARRAY_NAMES, ArraySource, splits_of
from orchestrator.data.loaders.locate import require_size
from orchestrator.data.splits import Splits
from orchestrator.errors import DataError, RequestError
from orchestrator.models.seeding import forked_generators
from orchestrator.plugins.offered import load_offered

#: entry point group in which other packages offer data sets
ENTRY_POINT_GROUP = "sparsefleet.datasets"
#: seed of the global random generators while a user's function runs
_SEED = 0
_LAYOUT = f"return a mapping with the arrays {', '.join(ARRAY_NAMES[:2])}, and optionally {', '.join(ARRAY_NAMES[2:])}"


def load_own(config: DataConfig, known: Mapping[str, str]) -> Splits:
    """Call the function that `data.name` names, and return its arrays.

    The function gets the entries of `data.options` as keyword arguments, and `root` if `data.root` is set. It returns a
    mapping of arrays, described in `loaders.arrays`. Global random generators have a fixed seed during the call.
    `known` are the names of the built-in data sets.

    Raises ConfigError for an unknown name, and DataError when the function raises or returns something else.
    """
    name = config.name
    function = load_offered(name, "data.name", ENTRY_POINT_GROUP, known, "data set")
    if not callable(function):
        problem = f"it is a {type(function).__name__}, not a function"
        raise DataError("data.name", name, problem, "name a function that returns the arrays")
    arguments = dict(config.options) | ({} if config.root is None else {"root": config.root})
    try:
        with forked_generators(_SEED):
            found = function(**arguments)
    except RequestError:
        raise
    except Exception as error:
        problem = f"the function raised {type(error).__name__}: {error}"
        raise DataError(
            "data.name", name, problem, "correct the function, data.options or data.root"
        ) from error
    if not isinstance(found, Mapping):
        raise DataError("data.name", name, f"the function returned a {type(found).__name__}", _LAYOUT)
    arrays = {str(key): _array(name, str(key), value) for key, value in found.items() if value is not None}
    require_size(config, sum(array.nbytes for array in arrays.values()), "the result of data.name")
    return splits_of(ArraySource("data.name", name, "the result", _LAYOUT), arrays)


def _array(name: str, key: str, value: object) -> NDArray[np.generic]:
    try:
        array = np.asarray(value)
    except (ValueError, TypeError, RuntimeError) as error:
        raise DataError(
            "data.name", name, f"{key} is not an array ({error})", "return a numpy array"
        ) from error
    if array.dtype.kind == "O" and all(isinstance(each, str) for each in array.ravel()):
        array = array.astype(np.str_)
    if array.dtype.kind not in "biufU":
        problem = f"{key} has dtype {array.dtype}"
        raise DataError("data.name", name, problem, "return an array of integers, floats or strings")
    return array
