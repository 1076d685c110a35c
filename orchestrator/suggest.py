"""What somebody may have meant, for messages about names that do not exist."""

from collections.abc import Iterable
from difflib import get_close_matches

_MAX_LISTED = 5


def near(name: str, existing: Iterable[str]) -> str:
    """One clause: the names most like this one, else the first few that there are, else that there are none."""
    names = sorted(set(existing))
    if not names:
        return "there is none"
    close = get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"near: {', '.join(close)}"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"there is: {', '.join(names[:_MAX_LISTED])}{more}"
