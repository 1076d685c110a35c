"""Flattens trees of tensors and numbers for a checkpoint, and rebuilds them from a template."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast

from torch import Tensor

Scalar = bool | int | float | str | None


def flatten(tree: object, path: str = "") -> Iterator[tuple[str, Tensor | Scalar]]:
    """(path, leaf) of every leaf of a tree of dataclasses, mappings with string keys, tuples and leaves.

    Raises TypeError, naming the path, for anything else.
    """
    if is_leaf(tree):
        yield path, cast(Tensor | Scalar, tree)
        return
    for key, child in children(tree, path):
        yield from flatten(child, f"{path}/{key}" if path else key)


def rebuild(template: Any, leaves: Mapping[str, Tensor | Scalar], path: str = "") -> Any:
    """A tree of the template's structure with these leaves. Raises KeyError for a missing leaf.

    A mapping gets the keys of the leaves: first the template's keys in their order, then new keys. A mapping may
    therefore grow over the rounds; new entries have the structure of the template's first entry.
    """
    here = f"{path}/" if path else ""
    if path in leaves:
        return leaves[path]
    if is_dataclass(template) and not isinstance(template, type):
        values = {f.name: rebuild(getattr(template, f.name), leaves, here + f.name) for f in fields(template)}
        return replace(template, **values)
    if isinstance(template, Mapping):
        found = dict.fromkeys(k.removeprefix(here).split("/")[0] for k in leaves if k.startswith(here))
        keys = [k for k in template if k in found] + sorted(k for k in found if k not in template)
        kind = next(iter(template.values()), None)
        return {key: rebuild(template.get(key, kind), leaves, here + key) for key in keys}
    if isinstance(template, tuple):
        if any(k.startswith(f"{here}{len(template)}") for k in leaves):
            raise KeyError(f"{here}{len(template)}")
        return tuple(rebuild(child, leaves, f"{here}{i}") for i, child in enumerate(template))
    raise KeyError(path)


def is_leaf(tree: object) -> bool:
    """Whether a value is a tensor, a number, a string or None."""
    return isinstance(tree, Tensor | bool | int | float | str) or tree is None


def children(tree: object, path: str) -> Iterator[tuple[str, object]]:
    """The key and the value of each entry of a dataclass, mapping or tuple at this path.

    Raises TypeError, naming the path, for another value and for a key that no checkpoint can store.
    """
    if is_dataclass(tree) and not isinstance(tree, type):
        yield from ((f.name, getattr(tree, f.name)) for f in fields(tree))
    elif isinstance(tree, Mapping):
        for key, child in tree.items():
            if not isinstance(key, str) or "/" in key:
                raise TypeError(f"state at {path or 'the root'} has the key {key!r}; use strings without /")
            yield key, child
    elif isinstance(tree, tuple):
        yield from ((str(i), child) for i, child in enumerate(tree))
    else:
        raise TypeError(
            f"state at {path or 'the root'} is a {type(tree).__name__}; "
            "use dataclasses, mappings, tuples, tensors and numbers"
        )
