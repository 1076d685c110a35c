"""Adds sparse vectors to float64 sums by index, with the bits of the addition of full vectors.

`Tensor.add_(x, alpha=a)` computes sum + a x with one rounding (a fused multiply-add) where the processor has this
instruction, but `numpy.add.at` adds a rounded product. Both give equal bits if a x has no rounding error.

A full vector has +0 where a sparse vector has no entry. Adding a weighted +0 changes no bits, because a sum that starts
with +0 is never -0. The entries without a value can therefore be left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from orchestrator.sparsity.payload import Float32, Index

#: entries of a block: index, gathered sums and values of a block stay in the processor's cache
_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Some entries of a float32[size] vector: float32[n] `values` at the positions `index` (int64[n], ascending)."""

    index: Index
    values: Float32
    size: int

    def take(self, vector: Tensor) -> Tensor:
        """Return another [size] vector's values at the same positions, [n]."""
        return torch.from_numpy(np.take(vector.numpy(), self.index))

    def mask(self) -> Tensor:
        """Return a new mask of the positions, bool[size]."""
        mask = np.zeros(self.size, np.bool_)
        mask[self.index] = True
        return torch.from_numpy(mask)

    def full(self) -> Tensor:
        """Return a new float32[size] vector, with 0 at the other positions."""
        vector = np.zeros(self.size, np.float32)
        vector[self.index] = self.values
        return torch.from_numpy(vector)


def entries_of(values: Tensor, mask: Tensor) -> Entries:
    """Return the entries of a float32[D] vector inside a bool[D] mask."""
    index = np.flatnonzero(mask.numpy())
    return Entries(index, values.numpy()[index], values.numel())


def add_values(total: Tensor, index: Index, values: Float32, weight: float) -> None:
    """Add `weight * values` (float32[n]) to a float64[D] sum at `index`."""
    terms = values.astype(np.float64)
    if float(np.float32(weight)) == weight:  # two float32 significands: the product has at most 48 of 53 bits
        terms *= weight
        np.add.at(total.numpy(), index, terms)
    else:
        add_terms(total, index, torch.from_numpy(terms), weight)


def add_terms(total: Tensor, index: Index, terms: Tensor, weight: float) -> None:
    """Add `weight * terms` (float64[n]) to a float64[D] sum at `index`."""
    sums = total.numpy()
    for start in range(0, index.size, _BLOCK):
        block = index[start : start + _BLOCK]
        gathered = torch.from_numpy(np.take(sums, block))
        gathered.add_(terms[start : start + _BLOCK], alpha=weight)
        sums[block] = gathered.numpy()


def add_weight(total: Tensor, index: Index, weight: float) -> None:
    """Add `weight` to a float64[D] sum at `index`."""
    np.add.at(total.numpy(), index, weight)
