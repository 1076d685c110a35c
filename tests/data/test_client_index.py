"""The rows of every client in three arrays."""

import numpy as np
import pytest

from orchestrator.data.client_index import ClientIndex


def test_client_index_returns_views() -> None:
    index = ClientIndex.of_sizes(np.array([2, 0, 1]), np.array([7, 5, 9]))
    assert len(index) == 3
    assert [rows.tolist() for rows in index] == [[7, 5], [], [9]]
    assert index[-1].tolist() == [9]
    assert np.shares_memory(index[0], index.indices)
    with pytest.raises(IndexError):
        index[3]


def test_shared_index_is_stored_once() -> None:
    index = ClientIndex.shared(np.arange(10), 1_000_000)
    assert len(index.indices) == 10
    assert index[999_999].tolist() == list(range(10))
    assert index.sizes().sum() == 10_000_000


def test_repeated_index_repeats_the_clients_in_order() -> None:
    index = ClientIndex.of_sizes(np.array([2, 1]), np.array([7, 5, 9])).repeated(5)
    assert [rows.tolist() for rows in index] == [[7, 5], [9], [7, 5], [9], [7, 5]]
    assert index.indices.size == 3


def test_first_clients_keep_their_rows_and_no_others() -> None:
    index = ClientIndex.of_sizes(np.array([2, 0, 1, 3]), np.array([7, 5, 9, 1, 2, 3]))
    first = index.first(3)
    assert [rows.tolist() for rows in first] == [[7, 5], [], [9]]
    assert first.indices.tolist() == [7, 5, 9]
    assert index.first(4) is index


def test_first_clients_share_overlapping_rows() -> None:
    index = ClientIndex(np.array([4, 1, 0]), np.array([6, 5, 6]), np.array([7, 5, 9, 1, 2, 3]))
    first = index.first(2)
    assert [rows.tolist() for rows in first] == [[2, 3], [5, 9, 1, 2]]
    assert first.indices.tolist() == [5, 9, 1, 2, 3]


def test_later_clients_keep_their_rows() -> None:
    index = ClientIndex.of_sizes(np.array([2, 1, 1]), np.array([7, 9, 4, 8])).after(1)
    assert [rows.tolist() for rows in index] == [[4], [8]]


def test_positions_have_the_slices_and_number_the_stored_rows() -> None:
    index = ClientIndex.of_sizes(np.array([2, 1]), np.array([7, 9, 4])).repeated(3)
    assert [rows.tolist() for rows in index.positions()] == [[0, 1], [2], [0, 1]]
