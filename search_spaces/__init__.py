"""The built-in search spaces, one per file, and their registry.

A space imports Ray Tune and nothing from Sparsefleet, because the method and its sparsity are ordinary dimensions. The
module of a space contains:

- `SPACE`: dotted config key -> a Tune domain, a list (`tune.grid_search`), or a constant for all trials. A value may be
  a mapping, whose keys are appended to the dotted key. A list of such mappings with plain values lists the
  configurations of the sweep.
- `MUTATIONS` (optional): dotted config key -> the domain from which population-based training chooses new values.
- A docstring, whose first line says what the space compares.
"""

from collections.abc import Mapping
from types import MappingProxyType

#: name of a space -> its module
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
#: entry point group through which other packages offer spaces; an entry point names the module of a space
ENTRY_POINT_GROUP = "sparsefleet.spaces"
