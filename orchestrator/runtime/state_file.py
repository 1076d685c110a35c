"""Files of states: named trees of tensors and numbers in one safetensors file, without pickle."""

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

REMEDY = "delete this round's files in that folder to go back to the commit before, or start a new run"


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

    Raises CheckpointError, naming the file, when it cannot be read or the tree has another form.
    """

    def mine(key: str) -> bool:
        return not name or key == name or key.startswith(f"{name}/")

    try:
        with safe_open(path, framework="pt") as file:
            numbers = json.loads(file.metadata()["numbers"])
            # cloned, since a tensor may be a view of the whole mapped file
            tensors = {key: file.get_tensor(key).clone() for key in filter(mine, file.keys())}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"commit file {path} cannot be read ({error}); {REMEDY}") from error
    leaves = {**tensors, **{key: number for key, number in numbers.items() if mine(key)}}
    try:
        return tree.rebuild(template, leaves, name)
    except KeyError as error:
        raise CheckpointError(
            f"commit file {path} lacks {error}: it is of another version of the method"
        ) from error


def verify(path: Path, sha256: str) -> None:
    """Raises CheckpointError, naming the file, when it is gone or has another checksum; holds none of it."""
    try:
        with path.open("rb") as file:
            found = file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"commit file {path} cannot be read ({error}); {REMEDY}") from error
    if found != sha256:
        raise CheckpointError(f"commit file {path} is corrupt: its checksum differs; {REMEDY}")
