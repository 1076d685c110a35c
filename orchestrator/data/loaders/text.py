"""Loads a text file of roles and their lines, for next-character prediction with one client per role.

The file is UTF-8 text in blocks, with blank lines between blocks. The first line of a block is `ROLE:`, and the other
lines are spoken by this role. A role's text consists of all its lines in order, joined by newlines. The data set does
not contain roles with fewer than `data.min_characters` characters. The vocabulary includes the characters of all roles.

The inputs of a sample are `data.sequence_length` characters, and its label is the next character. The last
`data.test_fraction` of each role's text is the role's test part. No sample contains characters of both parts.

Legend: N = samples, T = characters of a sample.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from orchestrator.config.sections import DataConfig
from orchestrator.data.dataset import Dataset, Tokens
from orchestrator.data.loaders.locate import existing_root, require_regular, require_size
from orchestrator.data.loaders.parts import join_names
from orchestrator.errors import DataError
from orchestrator.models.shapes import TextShape

_LAYOUT = "a text file of roles and their lines, or a folder with one such .txt file"


def load(config: DataConfig) -> Dataset:
    """Load token ids [N, T] of the smallest unsigned type, read-only; client ids number the roles in sorted order.

    Raises DataError for a file that is missing, unreadable or of another format, when all roles are too short, and when
    the training or test part of a role is too short for one sample.
    """
    roles = _read_roles(_find_file(config))
    vocabulary = "".join(sorted(set().union(*roles.values())))
    if len(vocabulary) == 1:
        problem = f"the lines of all roles contain only the character {vocabulary!r}"
        raise DataError("data.root", config.root, problem, "use lines with different characters")
    kept = {role: text for role, text in sorted(roles.items()) if len(text) >= config.min_characters}
    if not kept:
        longest = max(roles, key=lambda role: len(roles[role]))
        raise DataError(
            "data.min_characters",
            config.min_characters,
            f"all {len(roles)} roles are shorter; the longest, {longest}, has {len(roles[longest])} characters",
            "use a smaller number",
        )
    cuts = {role: len(text) - round(config.test_fraction * len(text)) for role, text in kept.items()}
    _check_lengths(config, kept, cuts)
    tokens = [(_encode(text, vocabulary), cuts[role]) for role, text in kept.items()]
    train_inputs, train_labels, train_ids = _samples(config, [codes[:cut] for codes, cut in tokens])
    test_inputs, test_labels, test_ids = _samples(config, [codes[cut:] for codes, cut in tokens])
    return Dataset(
        name=config.name,
        input_shape=TextShape((config.sequence_length,)),
        num_classes=len(vocabulary),
        train_inputs=train_inputs,
        train_labels=train_labels,
        test_inputs=test_inputs,
        test_labels=test_labels,
        mean=(),
        std=(),
        train_client_ids=train_ids,
        test_client_ids=test_ids,
        vocabulary=vocabulary,
        notes=_notes(config, roles, kept),
    )


def _notes(config: DataConfig, roles: dict[str, str], kept: dict[str, str]) -> tuple[str, ...]:
    short = sorted(set(roles) - set(kept))
    if not short:
        return ()
    limit = f"data.min_characters={config.min_characters}"
    return (f"{len(short)} of {len(roles)} roles are left out: {join_names(short)} (shorter than {limit})",)


def _find_file(config: DataConfig) -> Path:
    root = existing_root(config, _LAYOUT)
    files = [root] if root.is_file() else sorted(root.glob("*.txt"))
    if len(files) != 1:
        problem = f"the folder contains {len(files)} .txt files"
        raise DataError("data.root", root, problem, f"point it at {_LAYOUT}")
    require_regular(config, files[0])
    require_size(config, files[0].stat().st_size, files[0].name)
    return files[0]


def _read_roles(file: Path) -> dict[str, str]:
    """Return the text of each role. Raises DataError."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problem = f"is not a readable UTF-8 text ({error})"
        raise DataError("data.root", file, problem, "save the file as UTF-8") from error
    lines: dict[str, list[str]] = {}
    for number, (head, *body) in _blocks(text):
        role, colon, rest = head.rstrip().rpartition(":")
        if not role.strip() or not colon or rest:
            raise DataError(
                "data.root",
                file,
                f"line {number} is the first line of a block, but it does not have the form `ROLE:`",
                "add a line `ROLE:` before this line, or remove the blank line before it",
            )
        lines.setdefault(role.strip(), []).extend(body)
    if not lines:
        raise DataError("data.root", file, "the file contains no role with lines", f"use {_LAYOUT}")
    return {role: "\n".join(body) for role, body in lines.items()}


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the lines of each block, with the number of its first line, counted from 1."""
    block: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            block.append(line)
        elif block:
            yield number - len(block), block
            block = []


def _check_lengths(config: DataConfig, texts: dict[str, str], cuts: dict[str, int]) -> None:
    parts = [
        (size, part, role)
        for role, text in texts.items()
        for part, size in (("training", cuts[role]), ("test", len(text) - cuts[role]))
    ]
    size, part, role = min(parts)
    if size <= config.sequence_length:
        raise DataError(
            "data.sequence_length",
            config.sequence_length,
            f"the {part} part of {role} has {size} characters, which is too short for a sequence and its label",
            "use a smaller number, or raise data.min_characters",
        )


def _encode(text: str, vocabulary: str) -> Tokens:
    points, known = (np.frombuffer(s.encode("utf-32-le"), dtype="<u4") for s in (text, vocabulary))
    tokens: Tokens = np.searchsorted(known, points).astype(np.min_scalar_type(len(vocabulary) - 1))
    return tokens


def _samples(config: DataConfig, texts: list[Tokens]) -> tuple[Tokens, NDArray[np.int64], NDArray[np.int64]]:
    """Return inputs [N, T], labels int64[N] and role numbers int64[N] of all samples, in order; all read-only."""
    windows = [sliding_window_view(text, config.sequence_length + 1)[:: config.stride] for text in texts]
    inputs = np.concatenate([window[:, :-1] for window in windows])
    labels = np.concatenate([window[:, -1] for window in windows]).astype(np.int64)
    ids = np.repeat(np.arange(len(texts), dtype=np.int64), [len(window) for window in windows])
    for array in (inputs, labels, ids):
        array.flags.writeable = False
    return inputs, labels, ids
