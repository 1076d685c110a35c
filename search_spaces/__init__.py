"""Named search spaces, one a file, and how a space is found by name.

A space imports Tune's domains and nothing of Sparsefleet: the method and its sparsity are ordinary dimensions. Its
module has

- `SPACE`: dotted config key -> a Tune domain, or a constant that all trials have. A value may be a mapping, whose
  keys go below the key.
- `MUTATIONS` (optional): dotted config key -> what population-based training draws it from anew.
- a docstring, whose first line says what the space compares.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: registry name -> module
SPACES: Mapping[str, str] = MappingProxyType(
    {
        "algorithms": "search_spaces.algorithms",
        "sparsity": "search_spaces.sparsity",
        "schedules": "search_spaces.schedules",
        "feddst": "search_spaces.feddst",
        "fedspa": "search_spaces.fedspa",
        "ssfl": "search_spaces.ssfl",
        "fedlps": "search_spaces.fedlps",
        "heterogeneity": "search_spaces.heterogeneity",
        "smoke": "search_spaces.smoke",
    }
)
#: entry point group under which other packages offer spaces: a name and the module that holds the space
ENTRY_POINT_GROUP = "sparsefleet.spaces"
