"""Files of states: named trees of tensors and numbers in one safetensors file, without pickle."""

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

#: gone, no file, or on a disk that fails; a permission or a stale mount is somebody's to mend
_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EIO)


class DamagedFileError(CheckpointError):
    """A file of a commit that is gone, or not what was written: another commit may still do."""

    def __init__(self, path: Path, problem: str) -> None:
        """`problem` goes on from the file's path, as in "is corrupt"."""
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"commit file {self.finding}; {REMEDY}"

    @property
    def finding(self) -> str:
        """The file and what is wrong with it, on one line."""
        return " ".join(f"{self.path} {self.problem}".split())


def unreadable(path: Path, error: OSError) -> CheckpointError:
    """What to raise for a file that cannot be read: damage, or a hindrance that says nothing of what is in it."""
    if error.errno in _DAMAGE:
        return DamagedFileError(path, f"cannot be read ({error.strerror})")
    return CheckpointError(
        f"commit file {path} cannot be read ({error.strerror}); mend that, then resume the run"
    )


def encode(trees: Mapping[str, Any]) -> bytes:
    """A file's bytes: each tree under its name; the name "" is for a tree that has the file to itself."""
    tensors, numbers = {}, {}
    for name, state in trees.items():
        for path, leaf in tree.flatten(state, name):
            if isinstance(leaf, Tensor):
                tensors[path] = leaf.detach().clone(memory_format=torch.contiguous_format)
            else:
                numbers[path] = leaf
    return save(tensors, metadata={"numbers": json.dumps(numbers)})


def read(path: Path, name: str, template: Any) -> Any:
    """The tree of that name, in the template's form; of the tensors in the file only its own are read.

    Raises DamagedFileError when the file cannot be read, CheckpointError, naming it, when the tree has another form.
    """

    def mine(key: str) -> bool:
        return not name or key == name or key.startswith(f"{name}/")

    try:
        with safe_open(path, framework="pt") as file:
            numbers = dict(json.loads(file.metadata()["numbers"]))
            # cloned, since a tensor may be a view of the whole mapped file
            tensors = {key: file.get_tensor(key).clone() for key in filter(mine, file.keys())}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedFileError(path, f"cannot be read ({error})") from error
    leaves = {**tensors, **{key: number for key, number in numbers.items() if mine(key)}}
    try:
        return tree.rebuild(template, leaves, name)
    except KeyError as error:
        raise CheckpointError(
            f"commit file {path} lacks {error}: it is of another version of the method"
        ) from error


def verify(path: Path, sha256: str) -> None:
    """Raises DamagedFileError when the file is gone or has another checksum (else `unreadable`); holds none of it."""
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error
    if found != sha256:
        raise DamagedFileError(path, "is corrupt: its checksum differs")
