"""Who is drawn."""

import numpy as np
import pytest

from orchestrator.fleet.selection import draw_uniform


def test_without_replacement_nobody_is_drawn_twice() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        drawn = draw_uniform(9, 6, rng)
        assert len(drawn) == len(set(drawn)) == 6
        assert set(drawn) <= set(range(9))


def test_all_clients_can_be_drawn() -> None:
    assert sorted(draw_uniform(7, 7, np.random.default_rng(0))) == list(range(7))


def test_ids_are_plain_integers() -> None:
    """A numpy integer would name another random stream than the int of the same value."""
    assert {type(k) for k in draw_uniform(5, 3, np.random.default_rng(0))} == {int}


@pytest.mark.parametrize("with_replacement", [False, True])
def test_every_client_is_equally_likely(with_replacement: bool) -> None:
    """6,000 draws over 10 clients: 600 each, standard deviation at most 23.3; within five of them."""
    rng = np.random.default_rng(0)
    draws = [k for _ in range(2000) for k in draw_uniform(10, 3, rng, with_replacement=with_replacement)]
    counts = np.bincount(draws, minlength=10)
    assert np.all(np.abs(counts - 600) < 117)


def test_with_replacement_clients_come_back() -> None:
    """20 of 400 drawn with replacement: some client twice with probability 1 - prod(1 - i / 400) = 0.38."""
    rng = np.random.default_rng(0)
    repeated = sum(len(set(draw_uniform(400, 20, rng, with_replacement=True))) < 20 for _ in range(1000))
    assert 0.33 < repeated / 1000 < 0.43


def test_a_million_clients_cost_no_more_than_the_cohort() -> None:
    drawn = draw_uniform(10**9, 5, np.random.default_rng(0))
    assert len(set(drawn)) == 5
