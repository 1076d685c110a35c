"""Suggestions for misspelt names in error messages."""

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_LISTED = 5


def closest(name: str, existing: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the existing name most similar to `name`; None when no name is similar enough.

    `cutoff` in [0, 1] is the least similarity, as in `difflib.get_close_matches`.
    """
    found = get_close_matches(name, list(existing), n=1, cutoff=cutoff)
    return found[0] if found else None


def did_you_mean(name: str) -> str:
    """Return the question that suggests a name."""
    return f"did you mean '{name}'?"


def suggest(name: str, existing: Iterable[str], otherwise: str | None = None) -> str:
    """Return the remedy for a name that does not exist: a suggestion, or `otherwise` when no name is similar.

    `otherwise` None lists the first existing names.
    """
    names = sorted(set(existing))
    similar = closest(name, names)
    if similar is not None:
        return did_you_mean(similar)
    if otherwise is not None:
        return otherwise
    if not names:
        return "create one first, none exists yet"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"choose from {', '.join(names[:_MAX_LISTED])}{more}"
