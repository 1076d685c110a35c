"""Which of the names in `data.root` are the training part and the test part, and how what is unused is said."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

TRAIN_NAMES = ("train", "training")
#: the first of these with samples is the test part
TEST_NAMES = ("test", "testing", "val", "valid", "validation", "dev", "eval")

_MAX_NAMED = 3

T = TypeVar("T")


def choose_test(parts: Mapping[str, T], usable: Callable[[T], bool]) -> T | None:
    """The test part among `parts` by lower-case name; None: no part is both usable and named like one."""
    return next((parts[name] for name in TEST_NAMES if name in parts and usable(parts[name])), None)


def unused_note(root: Path, unused: Sequence[Path], reason: str) -> tuple[str, ...]:
    """One line that names unused files or folders under `root`; nothing when there are none."""
    if not unused:
        return ()
    return (f"left out of {root}: {named([str(path.relative_to(root)) for path in unused])} ({reason})",)


def named(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more
