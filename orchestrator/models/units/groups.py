"""Units of a model (channels, neurons, hidden units) and the entries of its tensors that each of them owns.

A unit is what a structured method keeps or drops as a whole: the rows of the layer that produces it and
the columns of every layer that consumes it. Dropping it leaves a smaller dense model of the same function
as the full model with all those entries at zero.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: "output": what produces the unit, its bias, norm parameters and running statistics; "input": a consumer
Role = Literal["output", "input"]

#: the one atom that stands for everything that is never cut
_FIXED = 0


@dataclass(frozen=True, slots=True, eq=False)
class UnitSlice:
    """How the units of a group share one dimension of a tensor.

    `segment` names the tensor as ParameterLayout does; a norm without parameters counts as though it had a
    `weight`. Row j of `index`, int64[num_units, m], lists in ascending order the positions along `dim` of
    unit j: m is 1 for most layers, H * W after a flatten, 4 for the gates of an LSTM.
    """

    segment: str
    dim: int
    index: NDArray[np.int64]
    role: Role

    def block_starts(self) -> NDArray[np.int64]:
        """int64[m]: where the block of each column of `index` begins.

        Along `dim` the units stand in blocks, each of which holds every unit in order: one block after a
        flatten, one for each gate of an LSTM.
        """
        first = self.index[0]
        new_block = np.r_[True, np.diff(first) != 1]
        starts: NDArray[np.int64] = first[new_block][np.cumsum(new_block) - 1]
        return starts

    def is_regular(self) -> bool:
        """Whether `index` is made of such blocks, so that a submodel can have them with fewer units."""
        starts = self.block_starts()
        _, block, widths = np.unique(starts, return_inverse=True, return_counts=True)
        expected = self.index[0] + np.arange(len(self.index))[:, None] * widths[block]
        return bool(np.array_equal(self.index, expected))


@dataclass(frozen=True, slots=True, eq=False)
class UnitGroup:
    """Units that are counted together; `name` is the first layer, in module order, that produces them."""

    name: str
    num_units: int
    slices: tuple[UnitSlice, ...]


@dataclass(slots=True)
class _Claim:
    """The atoms of one dimension of one tensor, in order."""

    atoms: NDArray[np.int64]
    role: Role


class Couplings:
    """Which positions of which tensors must be kept or dropped together.

    An atom is one output position of one layer. Atoms are joined as the model's operations couple them;
    those joined with `_FIXED` are never cut. A set of joined atoms is a unit.
    """

    def __init__(self, layers: list[str]) -> None:
        """`layers`: qualified names of all modules, in module order."""
        self._order = {name: position for position, name in enumerate(layers)}
        self._parents = [_FIXED]
        self._claims: dict[tuple[str, int], _Claim] = {}
        self._produced: list[tuple[int, str, NDArray[np.int64]]] = []
        #: the place, and why, where units that could have been cut were first ruled out
        self.first_fixed: tuple[str, str] | None = None

    def produce(self, layer: str, num: int) -> NDArray[np.int64]:
        """int64[num] new atoms, the outputs of a layer."""
        atoms = np.arange(len(self._parents), len(self._parents) + num)
        self._parents.extend(atoms.tolist())
        self._produced.append((self._order[layer], layer, atoms))
        return atoms

    def claim(self, segment: str, dim: int, atoms: NDArray[np.int64], role: Role) -> None:
        """The positions along a tensor's dimension belong to these atoms, beside any of an earlier call."""
        earlier = self._claims.setdefault((segment, dim), _Claim(atoms, role))
        self.join(earlier.atoms, atoms)

    def join(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Each atom of `left` is from now on the same unit as the one at its place in `right`."""
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self._parents[high] = low

    def fix(self, atoms: NDArray[np.int64], cause: tuple[str, str] | None = None) -> None:
        """These atoms are never cut; `cause` is where, and why. None: they are the model's outputs."""
        if cause and self.first_fixed is None and self.can_cut(atoms):
            self.first_fixed = cause
        self.join(atoms, np.full_like(atoms, _FIXED))

    def can_cut(self, atoms: NDArray[np.int64]) -> bool:
        """Whether any of the atoms is not fixed so far."""
        return any(self._root(a) != _FIXED for a in atoms.tolist())

    def groups(self) -> tuple[UnitGroup, ...]:
        """The cuttable units, those that occur equally often in the same tensors in one group."""
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
    """A layer's name, numbered from 1 where its units are not all coupled alike and make several groups."""
    taken = sum(group.name.partition("#")[0] == layer for group in groups)
    return f"{layer}#{taken}" if taken else layer
