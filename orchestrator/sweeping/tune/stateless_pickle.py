"""A base class that keeps callbacks and searchers out of Tune's own checkpoints."""

from typing import Any


class StatelessPickle:
    """Pickles as an empty object. Tune pickles callbacks and searchers, but a resumed sweep reads no pickle."""

    def __getstate__(self) -> dict[str, Any]:
        """Return an empty state."""
        return {}
