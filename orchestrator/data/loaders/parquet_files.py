"""Finds the Parquet or CSV files of the training part and of the test part under `data.root`.

`data.root` is one file, or a folder. The training part in a folder is train.parquet, or train-00000-of-00002.parquet
and so on, or train_0.parquet and so on. The test part has a name such as test or validation. Other files are not read.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from orchestrator.data.loaders.parts import TEST_NAMES, TRAIN_NAMES, choose_test, join_names, unused_note
from orchestrator.errors import DataError

_NAME = re.compile(
    r"(?P<part>[a-z]+?)"
    r"(?:-(?P<index>\d+)-of-(?P<total>\d+)(?:-[0-9a-f]+)?|[-_.]?(?:part|shard|chunk)?[-_.]?(?P<number>\d+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PartFiles:
    """The files in the order of their numbers. `test` may be empty. `notes` name the files that are not read."""

    train: list[Path]
    test: list[Path]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Shard:
    """A file of a part, with the number and the total in its name (None: the name does not contain it)."""

    file: Path
    number: int | None
    total: int | None


def find_files(root: Path, suffix: str = ".parquet") -> PartFiles:
    """Return the files with this suffix to read.

    Raises DataError when there is no training file, for two sets of files of the same part, and for a missing file.
    """
    if root.is_file():
        return PartFiles([root], [])
    files = sorted(path for path in root.rglob(f"*{suffix}") if path.is_file() and not _is_hidden(path, root))
    shards: defaultdict[str, list[_Shard]] = defaultdict(list)
    for file in files:
        match = _NAME.fullmatch(file.stem)
        if match and file.parent == root:
            number, total = match["index"] or match["number"], match["total"]
            shard = _Shard(file, int(number) if number else None, int(total) if total else None)
            shards[match["part"].lower()].append(shard)
    train = [shard for name in TRAIN_NAMES for shard in shards.get(name, [])]
    if not train:
        found = join_names([str(path.relative_to(root)) for path in files])
        problem = f"the folder contains no train*{suffix}{f', but {found}' if found else ''}"
        raise DataError("data.root", root, problem, f"name one file, or a folder with train{suffix}")
    train_files = _one_set(root, train)
    tests = {name: shards[name] for name in TEST_NAMES if name in shards}
    test = choose_test(tests, bool)
    test_files = [] if test is None else _one_set(root, test)
    unused = [path for path in files if path not in {*train_files, *test_files}]
    return PartFiles(train_files, test_files, unused_note(root, unused, "not the training or the test part"))


def _one_set(root: Path, shards: Sequence[_Shard]) -> list[Path]:
    """Return the files of one part, in order: one file, or the numbered files of one set. Raises DataError."""
    kinds = {(shard.number is None, shard.total): shard.file.name for shard in shards}
    numbers = [shard.number for shard in shards]
    if len(kinds) > 1 or len(set(numbers)) < len(numbers):
        names = sorted(kinds.values()) if len(kinds) > 1 else [shard.file.name for shard in shards]
        problem = f"{join_names(names)} are different sets of files of the same part"
        raise DataError("data.root", root, problem, "keep one set, or name one file")
    total, first_missing = shards[0].total, next(n for n in count() if n not in numbers)
    if total is not None and (len(numbers), first_missing) != (total, total):
        problem = (
            f"the folder contains {len(numbers)} of {total} files like {shards[0].file.name}; number "
            f"{first_missing} is missing"
        )
        raise DataError("data.root", root, problem, "add the missing files")
    return [shard.file for shard in sorted(shards, key=lambda shard: shard.number or 0)]


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
