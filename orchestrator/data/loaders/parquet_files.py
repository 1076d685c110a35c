"""Which Parquet files under `data.root` are the training part, and which the test part.

`data.root` is one file, or a folder with train.parquet, train-00000-of-00002.parquet and so on, or
train_0.parquet and so on; the test part is called test, validation or the like. Other files are not read.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from orchestrator.data.loaders.parts import TEST_NAMES, TRAIN_NAMES, choose_test, named, unused_note
from orchestrator.errors import DataError

_NAME = re.compile(
    r"(?P<part>[a-z]+?)"
    r"(?:-(?P<index>\d+)-of-(?P<total>\d+)(?:-[0-9a-f]+)?|[-_.]?(?:part|shard|chunk)?[-_.]?(?P<number>\d+))?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ParquetFiles:
    """Files in the order of their numbers. `test` empty: a part is held out. `notes` name what is not read."""

    train: list[Path]
    test: list[Path]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Shard:
    """`total` None: the name does not say how many there are; `number` None: the name has no number."""

    file: Path
    number: int | None
    total: int | None


def find_files(root: Path) -> ParquetFiles:
    """The files to read. Raises DataError for none, for two sets of one part, and for a set with a gap."""
    if root.is_file():
        return ParquetFiles([root], [])
    every = sorted(path for path in root.rglob("*.parquet") if path.is_file() and not _is_hidden(path, root))
    shards: defaultdict[str, list[_Shard]] = defaultdict(list)
    for file in every:
        match = _NAME.fullmatch(file.stem)
        if match and file.parent == root:
            number, total = match["index"] or match["number"], match["total"]
            shard = _Shard(file, int(number) if number else None, int(total) if total else None)
            shards[match["part"].lower()].append(shard)
    train = [shard for name in TRAIN_NAMES for shard in shards.get(name, [])]
    if not train:
        found = named([str(path.relative_to(root)) for path in every])
        problem = f"the folder holds no train*.parquet{f', but {found}' if found else ''}"
        raise DataError("data.root", root, problem, "name the file itself, or a folder with train.parquet")
    train_files = _one_set(root, train)
    tests = {name: shards[name] for name in TEST_NAMES if name in shards}
    test = choose_test(tests, bool)
    test_files = [] if test is None else _one_set(root, test)
    unused = [path for path in every if path not in {*train_files, *test_files}]
    return ParquetFiles(
        train_files, test_files, unused_note(root, unused, "not the training or the test part")
    )


def _one_set(root: Path, shards: Sequence[_Shard]) -> list[Path]:
    """The files of one part, which must be one file, or the numbered files of one set."""
    kinds = {(shard.number is None, shard.total): shard.file.name for shard in shards}
    numbers = [shard.number for shard in shards]
    if len(kinds) > 1 or len(set(numbers)) < len(numbers):
        names = sorted(kinds.values()) if len(kinds) > 1 else [shard.file.name for shard in shards]
        problem = f"{named(names)} are different sets of one part"
        raise DataError("data.root", root, problem, "keep one set, or name one file")
    total, first_missing = shards[0].total, next(n for n in count() if n not in numbers)
    if total is not None and (len(numbers), first_missing) != (total, total):
        problem = f"{len(numbers)} of {total} files like {shards[0].file.name} are there; number {first_missing} is not"
        raise DataError("data.root", root, problem, "add the rest")
    return [shard.file for shard in sorted(shards, key=lambda shard: shard.number or 0)]


def _is_hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)
