"""Copies a module, so that measuring, tracing and shrinking do not change the original."""

import copy

from torch import Tensor, nn


def replica(module: nn.Module, memo: dict[int, object] | None = None) -> nn.Module:
    """Return a deep copy of the module.

    `memo` maps the id of an object to the object that replaces it in the copy. torch cannot deep-copy a tensor that an
    operation computed, such as the weight of the older weight norm. The copy has a detached tensor with its values.
    """
    memo = {} if memo is None else memo
    for layer in module.modules():
        for value in vars(layer).values():
            if isinstance(value, Tensor) and value.grad_fn is not None:
                memo.setdefault(id(value), value.detach().clone())
    return copy.deepcopy(module, memo)
