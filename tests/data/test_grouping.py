"""Grouping and sizes, which every partition uses."""

import numpy as np

from orchestrator.data.grouping import cut, even_sizes, group_rows, ranks


def test_group_rows_sorts_by_group_and_drops_group_minus_one() -> None:
    groups = np.array([2, 0, -1, 2, 0, 2])
    rows, sizes = group_rows(groups, 4, np.random.default_rng(0))
    assert sizes.tolist() == [2, 0, 3, 0]
    assert sorted(rows[:2]) == [1, 4]
    assert sorted(rows[2:]) == [0, 3, 5]


def test_group_rows_shuffles_inside_groups() -> None:
    """Each of the six orders of the three rows in group 0 occurs about equally often."""
    rng = np.random.default_rng(1)
    orders = [tuple(group_rows(np.array([0, 0, 0, 1]), 2, rng)[0][:3]) for _ in range(600)]
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 60


def test_ranks_are_positions_inside_groups() -> None:
    assert ranks(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert ranks(np.array([0, 0])).tolist() == []


def test_even_sizes_differ_by_at_most_one() -> None:
    assert even_sizes(11, 4).tolist() == [3, 3, 3, 2]
    assert even_sizes(2, 3).tolist() == [1, 1, 0]


def test_cut_floors_cumulated_shares() -> None:
    """10 rows with shares .25 .5 .25 are cut at 2.5 and 7.5. Unnormalised shares give the same sizes."""
    assert cut(np.array([0.25, 0.5, 0.25]), 10).tolist() == [2, 5, 3]
    assert cut(np.array([1.0, 2.0, 1.0]), 10).tolist() == [2, 5, 3]
    assert cut(np.array([0.0, 1.0, 0.0]), 7).tolist() == [0, 7, 0]
