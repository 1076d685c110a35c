"""One hash for a whole state, to tell whether anything in it changed."""

from hashlib import sha256

from torch import Tensor

from orchestrator.federation import tree


def digest(state: object) -> str:
    """A hash of every leaf of a tree: types, dtypes, shapes and bits. Raises TypeError for what is no tree."""
    digest = sha256()
    for path, leaf in tree.flatten(state):
        digest.update(f"{path}:{type(leaf).__name__}:".encode())
        if isinstance(leaf, Tensor):
            digest.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            digest.update(leaf.contiguous().numpy().tobytes())
        else:
            digest.update(repr(leaf).encode())
    return digest.hexdigest()
