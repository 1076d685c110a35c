"""Recognises the training part and the test part by name, and reports files that are not read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

TRAIN_NAMES = ("train", "training")
#: the first name with samples is the test part
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "dev", "eval")

_MAX_NAMED = 3

T = TypeVar("T")


def choose_test(parts: Mapping[str, T], usable: Callable[[T], bool]) -> T | None:
    """Return the test part from `parts` by lower-case name (None: no usable part has the name of a test part)."""
    return next((parts[name] for name in TEST_NAMES if name in parts and usable(parts[name])), None)


def unused_note(root: Path, unused: Sequence[Path], reason: str) -> tuple[str, ...]:
    """Return a line that names the unused files or folders under `root`; no line when all are used."""
    if not unused:
        return ()
    return (f"left out of {root}: {join_names([str(path.relative_to(root)) for path in unused])} ({reason})",)


def join_names(names: Sequence[str]) -> str:
    """Return the first names, and the number of further names."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
