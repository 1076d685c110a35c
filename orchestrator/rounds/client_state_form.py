"""Compares the state that a client returns with a new client's state: paths, types, dtypes and shapes."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isfinite

import torch
from torch import Tensor

from orchestrator.federation.tree import children, flatten, is_leaf
from orchestrator.formatting import counted

#: metadata of a dataclass field with this key and a true value: the number of rows of its tensor may change
GROWS = "grows"
_MAX_INT = 2**63
#: memory of a leaf besides its values
_LEAF_BYTES = 64
#: dtypes of tensors in place of None
_STORED_DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
)


def state_problem(template: object, state: object, *, max_further_bytes: int) -> str | None:
    """Return the first difference between the form of a client state and its template; None if there is none.

    - A state has the paths, types, dtypes and shapes of its template, the state of a client before its first task.
    - None in the template stands for any leaf, except at the root: a method without client states gets none.
    - A mapping keeps the template's keys. Further entries have the form of its first entry; entries of a mapping that
      is empty in the template may be any leaves.
    - The rows of a tensor may change where the field has the metadata `{"grows": True}`.
    - Numbers are finite, unless they are not finite in the template either. Integers have at most 64 bits.
    - A state may have `max_further_bytes` more than its template.
    """
    if template is None and state is not None:
        return f"the root is a {type(state).__name__}, not None"
    allowed = size_bytes(template) + max_further_bytes
    if (problem := _problem(template, state, "", grows=False, max_bytes=allowed)) is not None:
        return problem
    num_bytes = size_bytes(state)
    if num_bytes > allowed:
        return f"it has {num_bytes} bytes, at most {allowed} are allowed"
    return None


def size_bytes(state: object) -> int:
    """Bytes of a state's values and names."""
    total = 0
    for path, leaf in flatten(state):
        total += _LEAF_BYTES + len(path)
        if isinstance(leaf, Tensor):
            total += leaf.numel() * leaf.element_size()
        elif isinstance(leaf, str):
            total += 4 * len(leaf)
    return total


def _problem(template: object, state: object, path: str, *, grows: bool, max_bytes: int) -> str | None:
    here = path or "the root"
    if is_leaf(template):
        if not is_leaf(state):
            return f"{here} is a {type(state).__name__}, not a {type(template).__name__}"
        return _leaf_problem(template, state, here, grows=grows, max_bytes=max_bytes)
    try:
        found = dict(children(state, path))
    except TypeError as error:
        return str(error)
    are_mappings = isinstance(state, Mapping) and isinstance(template, Mapping)
    if not are_mappings and type(state) is not type(template):
        return f"{here} is a {type(state).__name__}, not a {type(template).__name__}"
    expected = dict(children(template, path))
    if missing := [key for key in expected if key not in found]:
        return f"{here} has no entry {missing[0]!r}"
    if not are_mappings and len(found) != len(expected):
        return f"{here} has {counted(len(found), 'entry', 'entries')}, not {len(expected)}"
    first, growing = next(iter(expected.values()), None), _growing(template)
    for key, child in found.items():
        inside = f"{path}/{key}" if path else key
        if are_mappings and (problem := _entry_problem(key, child, here, inside)) is not None:
            return problem
        problem = _problem(expected.get(key, first), child, inside, grows=key in growing, max_bytes=max_bytes)
        if problem is not None:
            return problem
    return None


def _entry_problem(key: str, child: object, here: str, inside: str) -> str | None:
    """Why a checkpoint could not store an entry of a mapping."""
    if not key.isascii() or not key.isprintable():
        return f"{here} has the key {key!a}; use printable ASCII characters"
    try:
        is_empty = next(flatten(child, inside), None) is None
    except TypeError as error:
        return str(error)
    return f"{inside} is empty, and a checkpoint cannot store this" if is_empty else None


def _growing(template: object) -> set[str]:
    """Names of the fields whose tensors may have another number of rows."""
    if not is_dataclass(template):
        return set()
    return {field.name for field in fields(template) if field.metadata.get(GROWS)}


def _leaf_problem(template: object, leaf: object, here: str, *, grows: bool, max_bytes: int) -> str | None:
    if isinstance(leaf, Tensor):
        return _tensor_problem(template, leaf, here, grows=grows, max_bytes=max_bytes)
    if template is not None and not _is_of_kind(template, leaf):
        return f"{here} is a {type(leaf).__name__}, not a {type(template).__name__}"
    if isinstance(leaf, int) and not -_MAX_INT <= leaf < _MAX_INT:
        return f"{here} is an integer of {leaf.bit_length()} bits, at most 64 are allowed"
    if isinstance(leaf, float) and not isfinite(leaf) and _is_finite(template):
        return f"{here} is {leaf}"
    return None


def _is_of_kind(template: object, leaf: object) -> bool:
    """Whether a number or a string may stand for the template's leaf; an integer may stand for a float."""
    if isinstance(template, bool) or isinstance(leaf, bool):
        return isinstance(template, bool) and isinstance(leaf, bool)
    if isinstance(template, float):
        return isinstance(leaf, int | float)
    return isinstance(template, int | str) and isinstance(leaf, int if isinstance(template, int) else str)


def _tensor_problem(template: object, leaf: Tensor, here: str, *, grows: bool, max_bytes: int) -> str | None:
    if leaf.layout is not torch.strided or leaf.is_quantized or leaf.device.type == "meta":
        return f"{here} is not a dense tensor with values"
    num_bytes = leaf.numel() * leaf.element_size()
    if num_bytes > max_bytes:  # before anything reads the values, which may repeat one number in memory
        return f"{here} has {num_bytes} bytes, at most {max_bytes} are allowed"
    if template is None and leaf.dtype not in _STORED_DTYPES:
        return f"{here} has the dtype {leaf.dtype}, which a checkpoint does not store"
    if template is not None:
        if not isinstance(template, Tensor):
            return f"{here} is a Tensor, not a {type(template).__name__}"
        if leaf.dtype != template.dtype:
            return f"{here} has the dtype {leaf.dtype}, not {template.dtype}"
        shapes = tuple(leaf.shape), tuple(template.shape)
        can_grow = grows and leaf.dim() == template.dim() > 0
        if (shapes[0][1:] != shapes[1][1:]) if can_grow else shapes[0] != shapes[1]:
            return f"{here} has the shape {list(shapes[0])}, not {list(shapes[1])}"
    if not _is_finite(leaf) and _is_finite(template):
        return f"{here} is not finite; if the training diverges, lower its learning rate"
    return None


def _is_finite(leaf: object) -> bool:
    if isinstance(leaf, Tensor):
        return bool(torch.isfinite(leaf).all())
    return not isinstance(leaf, float) or isfinite(leaf)
