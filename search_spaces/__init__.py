"""Named search spaces, one a file: each module's `SPACE` maps dotted config keys to Ray Tune domains.

A space imports Tune's domains and nothing of Sparsefleet: the method and its sparsity are ordinary dimensions.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: name -> module that holds `SPACE` and, as its docstring's first line, what it compares
SPACES: Mapping[str, str] = MappingProxyType(
    {
        "algorithms": "search_spaces.algorithms",
        "sparsity": "search_spaces.sparsity",
    }
)
