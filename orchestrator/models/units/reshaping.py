"""The sizes that a reshape names, and the dimension that counts the units after a reshape splits them.

Attention splits the outputs of a layer, [B, T, H * S], into heads of constant size S, [B, T, H, S]. All S outputs of a
head belong to one unit. The forward pass writes -1 for the number of heads, so that a submodel may have fewer heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

_RESHAPES = ("view", "reshape", "expand", torch.reshape)
_SPLITS = ("unflatten", torch.unflatten)


def named_sizes(node: fx.Node, ndim: int) -> dict[int, object]:
    """Return the sizes that the call names, by dimension of its result; {} for other operations than reshapes.

    A size is an int, or a node of the graph for a size that the forward pass computes. `ndim` is the number of
    dimensions of the call's input.
    """
    arguments: tuple[Any, ...] = (*node.args[1:], *node.kwargs.values())
    if node.target in _RESHAPES:
        sizes = arguments[0] if isinstance(arguments[0], list | tuple) else arguments
        return dict(enumerate(sizes))
    if node.target in _SPLITS:
        dim, sizes = arguments[:2]
        if isinstance(dim, int) and isinstance(sizes, list | tuple):
            return dict(enumerate(sizes, start=dim % ndim))
    return {}


def unit_dim(sizes: Mapping[int, object], varying: Sequence[int]) -> int | None:
    """Return the dimension of size -1 among the dimensions into which a reshape splits the units.

    The result is None unless all other dimensions in `varying` have constant sizes: only then does a submodel with
    fewer units have fewer entries along this dimension alone.
    """
    free = [dim for dim in varying if sizes.get(dim) == -1]
    constant = [dim for dim in varying if isinstance(sizes.get(dim), int) and dim not in free]
    return free[0] if len(free) == 1 and len(constant) == len(varying) - 1 else None
