"""Between flat vectors and payload items: the model's item is named `theta` and carries its mask."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import WireError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Dense, Masked, Payload

MODEL_ITEM = "theta"


@dataclass(frozen=True, slots=True, eq=False)
class ModelValues:
    """A decoded model: float32[D] `values`, 0 outside `mask`; bool[D] `mask`, None where nothing is masked."""

    values: Tensor
    mask: Tensor | None


def pack_model(layout: ParameterLayout, values: Tensor, mask: Tensor | None) -> Dense | Masked:
    """The item for a float32[D] vector: whole, or its entries inside a bool[D] mask."""
    if mask is None:
        return Dense(MODEL_ITEM, values.detach().cpu().numpy())
    kept = values[mask.to(values.device)].detach().cpu().numpy()
    return Masked(MODEL_ITEM, kept, layout.restrict(mask).numpy())


def unpack_model(layout: ParameterLayout, payload: Payload) -> ModelValues:
    """The model in a payload. Raises WireError when it is missing or does not fit the layout."""
    item = find_model(payload)
    if isinstance(item, Dense):
        _check_size("values", item.values.size, layout.size)
        return ModelValues(torch.from_numpy(np.array(item.values)), None)
    _check_size("mask bits", item.mask.size, layout.num_maskable)
    mask = layout.expand(torch.from_numpy(np.array(item.mask)))
    _check_size("values", item.values.size, int(mask.sum()))
    values = torch.zeros(layout.size)
    values[mask] = torch.from_numpy(np.array(item.values))
    return ModelValues(values, mask)


def find_model(payload: Payload) -> Dense | Masked:
    """The model's item. Raises WireError when the payload has none."""
    for item in payload:
        if item.name == MODEL_ITEM and isinstance(item, Dense | Masked):
            return item
    raise WireError(f"the payload has no model item {MODEL_ITEM!r}, only {[item.name for item in payload]}")


def _check_size(what: str, got: int, expected: int) -> None:
    if got != expected:
        raise WireError(f"the model item has {got} {what}, the layout wants {expected}")
