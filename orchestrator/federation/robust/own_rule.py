"""A user's function that replaces a method's average, which `aggregation.rule` names by its file.

Legend: n = updates that have a vector, B = entries of a block of this vector.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.federation.robust.coordinates import CoordinateRule
from orchestrator.federation.robust.kept_updates import Float64, ValueBlock
from orchestrator.plugins.loading import load_function

_KEY = "aggregation.rule"
#: (values float64[n, B], held bool[n, B], weights float64[n], **aggregation.options) -> float64[B]
OwnRule = Callable[..., Float64]


def load_rule(rule: str) -> OwnRule | None:
    """Return the function that `aggregation.rule` names; None for a built-in rule.

    Raises ConfigError when the function cannot be loaded.
    """
    if ":" not in rule:
        return None
    return load_function(rule, _KEY, "values, held, weights")


def own_rule(function: OwnRule, options: Mapping[str, Any]) -> CoordinateRule:
    """Return the rule that calls the function for each block of a vector, with read-only arrays.

    `values` is 0 where `held` is False. The rule raises ValueError, in one line, when the function raises, or returns
    anything but one finite number for each entry that some client holds.
    """

    def rule(block: ValueBlock) -> Float64:
        arrays = [_read_only(each) for each in (block.values, block.held, block.weights)]
        try:
            found = np.asarray(function(*arrays, **options))
        except Exception as error:
            message = " ".join(str(error).split())
            raise ValueError(f"the function of {_KEY} raised {type(error).__name__}: {message}") from error
        size = block.held.shape[1]
        if found.shape != (size,) or found.dtype.kind not in "fiu":
            problem = f"returned {found.dtype}{found.shape}"
            raise ValueError(
                f"the function of {_KEY} {problem} for {size} entries; return one number for each"
            )
        held = block.held.any(axis=0)
        if not np.isfinite(found[held]).all():
            problem = "returned a number that is not finite for an entry that a client holds"
            raise ValueError(f"the function of {_KEY} {problem}; correct the function")
        return np.where(held, found, 0.0).astype(np.float64)

    return rule


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view
