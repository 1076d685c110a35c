"""State files: named trees of tensors and numbers in one safetensors file, without pickle."""

import errno
import json
from collections.abc import Mapping
from hashlib import file_digest
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from orchestrator.errors import CheckpointError
from orchestrator.federation import tree

REMEDY = "restore it from a copy, or start a new run"

#: the file is gone, is not a file, or the disk fails; a user can repair a permission or a stale mount
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)


class DamagedFileError(CheckpointError):
    """A file of a checkpoint is missing or changed. An earlier checkpoint may still be usable."""

    def __init__(self, path: Path, problem: str) -> None:
        """`problem` is a predicate of the file, such as "is corrupt"."""
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"checkpoint file {self.finding}; {REMEDY}"

    @property
    def finding(self) -> str:
        """The file and its problem, on one line."""
        return " ".join(f"{self.path} {self.problem}".split())


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """Return the error for a file that cannot be read: DamagedFileError, or CheckpointError for an access problem."""
    if error.errno in _DAMAGE:
        return DamagedFileError(path, f"cannot be read ({error.strerror})")
    return CheckpointError(
        f"checkpoint file {path} cannot be read ({error.strerror}); repair the access, then resume the run"
    )


def encode(trees: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file with each tree under its name; use the name "" for a file with a single tree."""
    tensors, numbers = {}, {}
    for name, state in trees.items():
        for path, leaf in tree.flatten(state, name):
            if isinstance(leaf, Tensor):
                tensors[path] = leaf.detach().clone(memory_format=torch.contiguous_format)
            else:
                numbers[path] = leaf
    return save(tensors, metadata={"numbers": json.dumps(numbers)})


def read(path: Path, name: str, template: Any) -> Any:
    """Read the tree of that name into the structure of the template, without reading other trees.

    Raises DamagedFileError when the file cannot be read, and CheckpointError when the tree has another structure.
    """

    def belongs(key: str) -> bool:
        return not name or key == name or key.startswith(f"{name}/")

    try:
        with safe_open(path, framework="pt") as file:
            numbers = dict(json.loads(file.metadata()["numbers"]))
            # clone, because a tensor may be a view that keeps the whole mapped file in memory
            tensors = {key: file.get_tensor(key).clone() for key in filter(belongs, file.keys())}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, f"cannot be read ({error})") from error
    leaves = {**tensors, **{key: number for key, number in numbers.items() if belongs(key)}}
    try:
        return tree.rebuild(template, leaves, name)
    except KeyError as error:
        raise CheckpointError(
            f"checkpoint file {path} has no {error}: another version of the method wrote it"
        ) from error


def verify(path: Path, sha256: str) -> None:
    """Compare a file with its SHA-256, without loading the whole file.

    Raises DamagedFileError when the file is missing or differs, and CheckpointError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    if found != sha256:
        raise DamagedFileError(path, "is corrupt: its checksum differs")
