"""Copies of modules that measure, trace or cut may use as they like."""

import copy

from torch import Tensor, nn


def replica(module: nn.Module, memo: dict[int, object] | None = None) -> nn.Module:
    """A deep copy; `memo` maps the id of what is to be replaced to its replacement.

    torch copies no tensor that an operation has made, such as the weight that a weight norm of the older kind
    computes before each forward pass. Its values are copied.
    """
    memo = {} if memo is None else memo
    for layer in module.modules():
        for value in vars(layer).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo.setdefault(id(value), value.detach().clone())
    return copy.deepcopy(module, memo)
