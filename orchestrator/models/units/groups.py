"""Groups the units of a model (channels, neurons, hidden units), and finds the tensor entries of each unit.

A structured method keeps or drops a unit as a whole. The entries of a unit are the rows of the layer that produces the
unit and the columns of every layer that consumes the unit. Dropping units gives a smaller dense model. The smaller
model computes the same function as the full model with the entries of the dropped units set to zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: "output": the weights that produce the unit, its bias, norm parameters and running statistics; "input": the
#: weights that consume the unit
Role = Literal["output", "input"]

#: atoms that are joined with this atom are never cut
_FIXED = 0


@dataclass(frozen=True, slots=True, eq=False)
class UnitSlice:
    """The positions of a group's units along one dimension of a tensor.

    - `segment`: the tensor's name in ParameterLayout. A norm without parameters has a slice for `weight`.
    - `index`, int64[num_units, m]: row j lists the positions of unit j along `dim`, in ascending order. m is 1 for
      most layers, H * W after a flatten, and 4 for the gates of an LSTM.
    """

    segment: str
    dim: int
    index: NDArray[np.int64]
    role: Role

    def block_starts(self) -> NDArray[np.int64]:
        """Return the start of the block of each column of `index`, int64[m].

        Along `dim` the units form blocks. Each block contains every unit in order. There is one block after a flatten,
        and one block for each gate of an LSTM.
        """
        first = self.index[0]
        new_block = np.r_[True, np.diff(first) != 1]
        starts: NDArray[np.int64] = first[new_block][np.cumsum(new_block) - 1]
        return starts

    def is_regular(self) -> bool:
        """Return whether `index` consists of such blocks. A submodel then has the same blocks with fewer units."""
        starts = self.block_starts()
        _, block, widths = np.unique(starts, return_inverse=True, return_counts=True)
        expected = self.index[0] + np.arange(len(self.index))[:, None] * widths[block]
        return bool(np.array_equal(self.index, expected))


@dataclass(frozen=True, slots=True, eq=False)
class UnitGroup:
    """Units that a method counts together; `name` is the first layer, in module order, that produces them."""

    name: str
    num_units: int
    slices: tuple[UnitSlice, ...]


@dataclass(slots=True)
class _Claim:
    """The atoms of one dimension of one tensor, in order."""

    atoms: NDArray[np.int64]
    role: Role


class Couplings:
    """Records which positions of which tensors must be kept or dropped together.

    An atom is one output position of one layer. The model's operations join atoms. A set of joined atoms is a unit.
    Atoms that are joined with `_FIXED` are never cut.
    """

    def __init__(self, layers: list[str]) -> None:
        """`layers` are the qualified names of all modules, in module order."""
        self._order = {name: position for position, name in enumerate(layers)}
        self._parents = [_FIXED]
        self._claims: dict[tuple[str, int], _Claim] = {}
        self._produced: list[tuple[int, str, NDArray[np.int64]]] = []
        #: the first operation that fixed cuttable units, and the reason
        self.first_fixed: tuple[str, str] | None = None

    def produce(self, layer: str, num: int) -> NDArray[np.int64]:
        """Return new atoms for the outputs of a layer, int64[num]."""
        atoms = np.arange(len(self._parents), len(self._parents) + num)
        self._parents.extend(atoms.tolist())
        self._produced.append((self._order[layer], layer, atoms))
        return atoms

    def claim(self, segment: str, dim: int, atoms: NDArray[np.int64], role: Role) -> None:
        """Assign the positions along a tensor's dimension to these atoms, and join them with atoms of earlier calls."""
        earlier = self._claims.setdefault((segment, dim), _Claim(atoms, role))
        self.join(earlier.atoms, atoms)

    def join(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Join each atom of `left` with the atom at the same position of `right`: both belong to the same unit."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low

    def fix(self, atoms: NDArray[np.int64], cause: tuple[str, str] | None = None) -> None:
        """Exclude these atoms from cutting; `cause` is (operation, reason) (None: they are the model's outputs)."""
        if cause and self.first_fixed is None and self.can_cut(atoms):
            self.first_fixed = cause
        self.join(atoms, np.full_like(atoms, _FIXED))

    def can_cut(self, atoms: NDArray[np.int64]) -> bool:
        """Return whether at least one of the atoms is not fixed."""
        return any(self._root(a) != _FIXED for a in atoms.tolist())

    def groups(self) -> tuple[UnitGroup, ...]:
        """Return the cuttable units. Units that occur equally often in the same tensors form one group."""
        roots = np.array([self._root(a) for a in range(len(self._parents))])
        claims = {key: _Claim(roots[claim.atoms], claim.role) for key, claim in self._claims.items()}
        occurrences: dict[int, list[tuple[tuple[str, int], int]]] = {}
        for key, claim in claims.items():
            for unit, count in zip(*np.unique(claim.atoms, return_counts=True), strict=True):
                occurrences.setdefault(int(unit), []).append((key, int(count)))
        members: dict[tuple[tuple[tuple[str, int], int], ...], list[int]] = {}
        layers: dict[int, str] = {}
        for _, layer, atoms in sorted(self._produced, key=lambda item: item[0]):
            for unit in dict.fromkeys(roots[atoms].tolist()):
                if unit != _FIXED and unit not in layers:
                    layers[unit] = layer
                    members.setdefault(tuple(occurrences[unit]), []).append(unit)
        groups: list[UnitGroup] = []
        for signature, units in members.items():
            group = UnitGroup(
                _unused_name(layers[units[0]], groups),
                len(units),
                tuple(_slice(*key, claims[key], units) for key, _ in signature),
            )
            if len(units) > 1 and all(part.is_regular() for part in group.slices):
                groups.append(group)
        return tuple(groups)

    def _root(self, atom: int) -> int:
        while self._parents[atom] != atom:
            self._parents[atom] = self._parents[self._parents[atom]]
            atom = self._parents[atom]
        return atom


def _slice(segment: str, dim: int, claim: _Claim, units: list[int]) -> UnitSlice:
    ranks = {unit: rank for rank, unit in enumerate(units)}
    owners = np.array([ranks.get(unit, -1) for unit in claim.atoms.tolist()])
    positions = np.flatnonzero(owners >= 0)
    by_unit = positions[np.argsort(owners[positions], kind="stable")]
    return UnitSlice(segment, dim, by_unit.reshape(len(units), -1), claim.role)


def _unused_name(layer: str, groups: list[UnitGroup]) -> str:
    """Return a layer's name, with a number from 1 for the second and later groups of the same layer."""
    num_groups = sum(group.name.partition("#")[0] == layer for group in groups)
    return f"{layer}#{num_groups}" if num_groups else layer
