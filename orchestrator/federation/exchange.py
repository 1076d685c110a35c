"""Packs flat vectors into payload items and unpacks them. The model's item is named `theta` and contains its mask."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import WireError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Bits, Bool, Dense, Float32, Masked, Payload
from orchestrator.sparsity.wire_frame import ValueDtype

MODEL_ITEM = "theta"


@dataclass(frozen=True, slots=True, eq=False)
class ModelValues:
    """A decoded model: float32[D] `values`, 0 outside `mask`; bool[D] `mask`, None if nothing is masked."""

    values: Tensor
    mask: Tensor | None


def pack_model(layout: ParameterLayout, values: Tensor, mask: Tensor | None) -> Dense | Masked:
    """The model's item for a float32[D] vector: all entries, or the entries inside a bool[D] mask."""
    if mask is None:
        return Dense(MODEL_ITEM, values.detach().cpu().numpy())
    kept = values[mask.to(values.device)].detach().cpu().numpy()
    return Masked(MODEL_ITEM, kept, layout.restrict(mask).numpy())


def unpack_model(layout: ParameterLayout, payload: Payload) -> ModelValues | None:
    """The model in a payload, or None for a payload without a model. Raises WireError for a model that does not fit."""
    item = find_model(payload)
    if item is None:
        return None
    if isinstance(item, Dense):
        check_size("values", item.values.size, layout.size)
        return ModelValues(torch.from_numpy(np.array(item.values)), None)
    check_size("mask bits", item.mask.size, layout.num_maskable)
    mask = layout.expand(torch.from_numpy(np.array(item.mask)))
    check_size("values", item.values.size, int(mask.sum()))
    values = torch.zeros(layout.size)
    values[mask] = torch.from_numpy(np.array(item.values))
    return ModelValues(values, mask)


def as_sent(values: Tensor, value_dtype: ValueDtype) -> Tensor:
    """float32 values as the receiver decodes them: rounded to float16 if `value_dtype` is float16."""
    return values.to(torch.float16).to(torch.float32) if value_dtype == "float16" else values


def find_model(payload: Payload) -> Dense | Masked | None:
    """The model's item, or None for a payload without a model."""
    for item in payload:
        if item.name == MODEL_ITEM and isinstance(item, Dense | Masked):
            return item
    return None


def without_model(payload: Payload) -> Payload:
    """All items except the model."""
    return tuple(item for item in payload if item.name != MODEL_ITEM)


def find_bits(payload: Payload, name: str) -> Bool:
    """The bits of the item with this name. Raises WireError for a payload without such an item."""
    for item in payload:
        if item.name == name and isinstance(item, Bits):
            return item.bits
    raise WireError(f"the payload has no bits {name!r}, only {[item.name for item in payload]}")


def find_values(payload: Payload, name: str) -> Float32:
    """The dense values of the item with this name. Raises WireError for a payload without such an item."""
    for item in payload:
        if item.name == name and isinstance(item, Dense):
            return item.values
    raise WireError(f"the payload has no values {name!r}, only {[item.name for item in payload]}")


def known_masks(layout: ParameterLayout, mask: Tensor | None) -> dict[str, Bool]:
    """The shared masks by item name, for a bool[D] mask of the model that both ends know."""
    return {} if mask is None else {MODEL_ITEM: layout.restrict(mask).numpy()}


def check_size(what: str, got: int, expected: int) -> None:
    """Raises WireError if the model's item has `got` entries instead of `expected`; `what` names the entries."""
    if got != expected:
        raise WireError(f"the model item has {got} {what}, expected {expected}")
