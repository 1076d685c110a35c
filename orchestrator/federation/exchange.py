"""Packs flat vectors into payload items and unpacks them. The model's item is named `theta` and contains its mask."""

from typing import final

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import WireError
from orchestrator.models.parameters import ParameterLayout
from orchestrator.sparsity.payload import Bits, Bool, Dense, Float32, Index, Masked, Payload
from orchestrator.sparsity.sparse_sum import Entries
from orchestrator.sparsity.wire_frame import ValueDtype

MODEL_ITEM = "theta"


@final
class ModelValues:
    """A decoded model: float32[D] `values`, 0 outside `mask`; bool[D] `mask`, None if nothing is masked.

    `at` makes a model from its entries alone. Such a model computes `values` and `mask` when one of them is first read;
    from then on it has no `entries` any more, because the reader may change the tensors.
    """

    __slots__ = ("_entries", "_mask", "_values")

    def __init__(self, values: Tensor, mask: Tensor | None) -> None:
        self._values: Tensor | None = values
        self._mask = mask
        self._entries: Entries | None = None

    @classmethod
    def from_entries(cls, entries: Entries) -> "ModelValues":
        """Return the model with these entries, which are its mask too."""
        model = cls(torch.empty(0), None)
        model._values, model._entries = None, entries
        return model

    @property
    def values(self) -> Tensor:
        """float32[D]: the values, 0 outside the mask."""
        return self._full()

    @property
    def mask(self) -> Tensor | None:
        """bool[D]: the entries of the model; None: all entries."""
        self._full()
        return self._mask

    @property
    def entries(self) -> Entries | None:
        """The model by index; None if it has full tensors."""
        return self._entries

    @property
    def size(self) -> int:
        """Number of entries of the full vector, D."""
        return self._entries.size if self._values is None and self._entries else self._full().numel()

    def _full(self) -> Tensor:
        if self._values is None:
            assert self._entries is not None
            self._values, self._mask = self._entries.full(), self._entries.mask()
            self._entries = None
        return self._values


def pack_model(layout: ParameterLayout, values: Tensor, mask: Tensor | None) -> Dense | Masked:
    """The model's item for a float32[D] vector: all entries, or the entries inside a bool[D] mask."""
    if mask is None:
        return Dense(MODEL_ITEM, values.detach().cpu().numpy())
    if values.device.type == "cpu":  # numpy selects several times faster than torch
        kept = values.detach().numpy()[mask.numpy()]
    else:
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
    check_size("mask bits", item.width, layout.num_maskable)
    check_size("values", item.values.size, item.num_kept + layout.num_dense)
    return ModelValues.from_entries(
        Entries(_in_full_coordinates(layout, item.indices), item.values, layout.size)
    )


def _in_full_coordinates(layout: ParameterLayout, indices: Index) -> Index:
    """Positions in the flat vector: int64[nnz] positions among the maskable entries -> int64[nnz + U]."""
    if layout.num_maskable == layout.size:
        return indices
    index = np.empty(indices.size + layout.num_dense, np.int64)
    start = read = maskable = 0
    for segment in layout.segments:
        if segment.maskable:
            maskable += segment.size
            end = int(np.searchsorted(indices, maskable))
            shift = segment.offset + segment.size - maskable
            stop = start + end - read
            np.add(indices[read:end], shift, out=index[start:stop])
            read = end
        else:
            stop = start + segment.size
            index[start:stop] = np.arange(segment.offset, segment.offset + segment.size)
        start = stop
    return index


def as_sent(values: Tensor, value_dtype: ValueDtype) -> Tensor:
    """float32 values as the receiver decodes them: rounded to `value_dtype`.

    Methods that call this function set `Capabilities.exact_values`. Raises ValueError for int8, which rounds at random.
    """
    if value_dtype == "int8":
        raise ValueError("int8 rounds at random; set Capabilities.exact_values")
    if value_dtype == "float32":
        return values
    return values.to(torch.float16 if value_dtype == "float16" else torch.bfloat16).to(torch.float32)


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


def scatter(sub: np.ndarray[tuple[int], np.dtype[np.float32]], index: Tensor, size: int) -> ModelValues:
    """A submodel's values at int64 positions of a full vector of `size`; other entries are 0 and outside the mask.

    Raises WireError for a wrong number of values.
    """
    check_size("values", sub.size, index.numel())
    values, mask = torch.zeros(size), torch.zeros(size, dtype=torch.bool)
    values[index] = torch.from_numpy(np.array(sub))
    mask[index] = True
    return ModelValues(values, mask)
