"""Couplings of tensor positions by hand: atoms, units and the groups that they form."""

import numpy as np
import pytest

from orchestrator.models.units.groups import Couplings, UnitSlice


def _two_layers(num: int, *joined: tuple[int, int]) -> Couplings:
    """Layer `a` produces `num` atoms (1, 2, ...), and layer `b` consumes them; the pairs of atoms are joined."""
    couplings = Couplings(["a", "b"])
    atoms = couplings.produce("a", num)
    assert atoms.tolist() == list(range(1, num + 1))
    couplings.claim("a.weight", 0, atoms, "output")
    couplings.claim("b.weight", 1, atoms, "input")
    for left, right in joined:
        couplings.join(np.array([left]), np.array([right]))
    return couplings


def test_group_has_the_rows_of_the_producer_and_the_columns_of_the_consumer() -> None:
    (group,) = _two_layers(3).groups()
    assert (group.name, group.num_units) == ("a", 3)
    rows, columns = group.slices
    assert (rows.segment, rows.dim, rows.role) == ("a.weight", 0, "output")
    assert (columns.segment, columns.dim, columns.role) == ("b.weight", 1, "input")
    assert rows.index.tolist() == columns.index.tolist() == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("joined", "index"),
    [
        ([(1, 2), (3, 4)], [[0, 1], [2, 3]]),
        ([(1, 3), (2, 4)], [[0, 2], [1, 3]]),
        ([(3, 1), (4, 2)], [[0, 2], [1, 3]]),
    ],
)
def test_joined_atoms_are_one_unit(joined: list[tuple[int, int]], index: list[list[int]]) -> None:
    (group,) = _two_layers(4, *joined).groups()
    assert group.num_units == 2
    assert group.slices[0].index.tolist() == index


def test_units_that_occur_equally_often_form_a_group_and_single_units_none() -> None:
    """Atoms 1 and 2 are one unit with two rows; atoms 3 and 4 are two units with one row each."""
    (group,) = _two_layers(4, (1, 2)).groups()
    assert group.num_units == 2
    assert group.slices[0].index.tolist() == [[2], [3]]


def test_second_group_of_a_layer_has_a_number() -> None:
    couplings = _two_layers(4)
    couplings.claim("c.weight", 0, np.array([3, 4]), "output")
    assert [(g.name, g.num_units, len(g.slices)) for g in couplings.groups()] == [("a", 2, 2), ("a#1", 2, 3)]


def test_groups_have_the_module_order_of_their_first_layer() -> None:
    couplings = Couplings(["first", "second"])
    for layer in ("second", "first"):
        couplings.claim(f"{layer}.weight", 0, couplings.produce(layer, 2), "output")
    assert [group.name for group in couplings.groups()] == ["first", "second"]


def test_second_claim_of_a_dimension_joins_the_atoms() -> None:
    """A layer that is called twice produces the same rows twice."""
    couplings = _two_layers(2)
    again = couplings.produce("a", 2)
    couplings.claim("a.weight", 0, again, "output")
    couplings.claim("c.weight", 1, again, "input")
    (group,) = couplings.groups()
    assert {part.segment for part in group.slices} == {"a.weight", "b.weight", "c.weight"}


def test_fixed_atoms_are_not_cut_and_the_first_cause_is_stored() -> None:
    couplings = _two_layers(3)
    couplings.fix(np.array([1]), ("norm", "it mixes"))
    couplings.fix(np.array([2]), ("softmax", "it mixes too"))
    assert couplings.first_fixed == ("norm", "it mixes")
    assert not couplings.can_cut(np.array([0, 1, 2]))
    assert couplings.can_cut(np.array([1, 3]))
    assert couplings.groups() == ()


def test_outputs_of_the_model_and_fixed_atoms_are_no_cause() -> None:
    couplings = _two_layers(2)
    couplings.fix(np.array([1, 2]))
    couplings.fix(np.array([1, 2]), ("norm", "it mixes"))
    assert couplings.first_fixed is None


def test_atom_joined_with_a_fixed_atom_is_fixed() -> None:
    couplings = _two_layers(2, (1, 2))
    couplings.fix(np.array([2]))
    assert not couplings.can_cut(np.array([1]))


@pytest.mark.parametrize(
    ("index", "starts", "regular"),
    [
        ([[0], [1], [2]], [0], True),
        ([[0, 1, 2], [3, 4, 5]], [0, 0, 0], True),
        ([[0, 3, 6], [1, 4, 7], [2, 5, 8]], [0, 3, 6], True),
        ([[2, 3], [4, 5]], [2, 2], True),
        ([[1], [0]], [1], False),
        ([[0, 1], [4, 5]], [0, 0], False),
    ],
    ids=["rows", "flattened", "gates", "with an offset", "reversed", "with a gap"],
)
def test_blocks_of_a_slice(index: list[list[int]], starts: list[int], regular: bool) -> None:
    part = UnitSlice("weight", 0, np.array(index), "output")
    assert part.block_starts().tolist() == starts
    assert part.is_regular() == regular


def test_irregular_groups_are_left_out() -> None:
    couplings = _two_layers(4)
    couplings.claim("c.weight", 0, np.array([4, 3, 2, 1]), "output")
    assert couplings.groups() == ()
