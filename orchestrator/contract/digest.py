"""A hash of a whole state, which shows whether any value changed."""

from hashlib import sha256

from torch import Tensor

from orchestrator.federation import tree


def digest(state: object) -> str:
    """Return a hash over types, dtypes, shapes and bits of all leaves. Raises TypeError for unsupported types."""
    hashed = sha256()
    for path, leaf in tree.flatten(state):
        hashed.update(f"{path}:{type(leaf).__name__}:".encode())
        if isinstance(leaf, Tensor):
            hashed.update(f"{leaf.dtype}{tuple(leaf.shape)}".encode())
            hashed.update(leaf.contiguous().numpy().tobytes())
        else:
            hashed.update(repr(leaf).encode())
    return hashed.hexdigest()
