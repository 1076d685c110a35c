"""Who is drawn."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from orchestrator.fleet.client_sampler import ClientSampler, Eligible

WEIGHTS = (1, 2, 3, 0, 4)


class TestUniform:
    """Clients of equal weight."""

    def test_without_replacement_nobody_is_drawn_twice(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(50):
            drawn = ClientSampler(9).draw(6, rng)
            assert len(drawn) == len(set(drawn)) == 6
            assert set(drawn) <= set(range(9))

    def test_all_clients_can_be_drawn(self) -> None:
        assert sorted(ClientSampler(7).draw(7, np.random.default_rng(0))) == list(range(7))

    @pytest.mark.parametrize("with_replacement", [False, True])
    def test_every_client_is_equally_likely(self, with_replacement: bool) -> None:
        """6,000 draws over 10 clients: 600 each, standard deviation at most 23.3; within five of them."""
        rng, urn = np.random.default_rng(0), ClientSampler(10)
        draws = [k for _ in range(2000) for k in urn.draw(3, rng, with_replacement=with_replacement)]
        counts = np.bincount(draws, minlength=10)
        assert np.all(np.abs(counts - 600) < 117)

    def test_with_replacement_clients_come_back(self) -> None:
        """20 of 400 drawn with replacement: some client twice with probability 1 - prod(1 - i / 400) = 0.38."""
        rng, urn = np.random.default_rng(0), ClientSampler(400)
        repeated = sum(len(set(urn.draw(20, rng, with_replacement=True))) < 20 for _ in range(1000))
        assert 0.33 < repeated / 1000 < 0.43

    def test_200_draws_of_400_clients_hit_157(self) -> None:
        """Ten rounds of 20: 400 (1 - (1 - 1 / 400)^200) clients, so that counting each once misses 21 % of draws."""
        expected = 400 * (1 - (1 - 1 / 400) ** 200)
        assert int(expected) == 157
        assert round(1 - expected / 200, 2) == 0.21
        rng, urn = np.random.default_rng(0), ClientSampler(400)
        hit = [
            len({k for _ in range(10) for k in urn.draw(20, rng, with_replacement=True)}) for _ in range(500)
        ]
        # one run's standard deviation is 5.3
        assert np.mean(hit) == pytest.approx(expected, abs=5 * 5.3 / 500**0.5)

    @pytest.mark.parametrize("eligible", [None, lambda k: k % 2 == 0])
    def test_a_thousand_million_clients_cost_no_more_than_the_cohort(self, eligible: Eligible | None) -> None:
        drawn = ClientSampler(10**9).draw(5, np.random.default_rng(0), eligible)
        assert len(set(drawn)) == 5


class TestWeighted:
    """Clients of weight 1, 2, 3, 0 and 4."""

    def _urn(self) -> ClientSampler:
        return ClientSampler(len(WEIGHTS), np.array(WEIGHTS))

    def test_one_after_the_other_by_weight_among_those_that_are_left(self) -> None:
        """All orders of two: w_i / 10 of the first draw, then w_j / (10 - w_i)."""
        rng, urn, num_draws = np.random.default_rng(0), self._urn(), 8000
        drawn = [urn.draw(2, rng) for _ in range(num_draws)]
        _assert_shares(drawn, _successive(WEIGHTS), num_draws)

    def test_no_weight_is_never_drawn(self) -> None:
        rng = np.random.default_rng(0)
        assert sorted(self._urn().draw(5, rng)) == [0, 1, 2, 4]
        assert 3 not in self._urn().draw(500, rng, with_replacement=True)

    def test_with_replacement_each_draw_is_by_weight(self) -> None:
        drawn = self._urn().draw(10_000, np.random.default_rng(0), with_replacement=True)
        _assert_shares(drawn, {k: w / 10 for k, w in enumerate(WEIGHTS)}, 10_000)

    def test_the_eligible_alone_share_the_draws(self) -> None:
        rng, urn, num_draws = np.random.default_rng(0), self._urn(), 6000
        drawn = [urn.draw(2, rng, lambda k: k != 4) for _ in range(num_draws)]
        _assert_shares(drawn, _successive((1, 2, 3, 0, 0)), num_draws)


class TestTheFewThatAreLeft:
    """Among 200 that are heavy and away, clients 17, 50 and 99 are there, of weight 1, 2 and 3."""

    @staticmethod
    def _urn() -> ClientSampler:
        weights = np.full(200, 10**6)
        weights[[17, 50, 99]] = 1, 2, 3
        return ClientSampler(200, weights)

    @staticmethod
    def _there(client_id: int) -> bool:
        return client_id in (17, 50, 99)

    def test_they_are_found_with_the_same_probabilities(self) -> None:
        rng, urn, num_draws = np.random.default_rng(0), self._urn(), 1500
        drawn = [urn.draw(2, rng, self._there) for _ in range(num_draws)]
        names = {0: 17, 1: 50, 2: 99}
        expected = {(names[i], names[j]): p for (i, j), p in _successive((1, 2, 3)).items()}
        _assert_shares(drawn, expected, num_draws)

    def test_fewer_come_back_where_fewer_are_there(self) -> None:
        rng = np.random.default_rng(0)
        assert sorted(self._urn().draw(9, rng, self._there)) == [17, 50, 99]
        assert sorted(ClientSampler(200).draw(9, rng, self._there)) == [17, 50, 99]
        assert self._urn().draw(9, rng, lambda k: False) == ()

    def test_with_replacement_one_is_enough(self) -> None:
        drawn = self._urn().draw(4, np.random.default_rng(0), lambda k: k == 50, with_replacement=True)
        assert drawn == (50, 50, 50, 50)

    def test_a_draw_half_found_goes_on_with_the_others(self) -> None:
        """Client 0 is nearly all of the weight: it comes first, and the pass over the others finds the rest."""
        weights = np.ones(100, dtype=np.int64)
        weights[0] = 10**12
        drawn = ClientSampler(100, weights).draw(4, np.random.default_rng(0))
        assert drawn[0] == 0
        assert len(set(drawn)) == 4


@pytest.mark.parametrize("weights", [None, np.array([1, 2, 3, 4, 5])])
@pytest.mark.parametrize("eligible", [None, lambda k: k != 1, lambda k: k == 1])
@pytest.mark.parametrize("with_replacement", [False, True])
def test_ids_are_plain_integers_and_a_stream_draws_the_same_again(
    weights: np.ndarray[tuple[int], np.dtype[np.int64]] | None,
    eligible: Eligible | None,
    with_replacement: bool,
) -> None:
    """A numpy integer would name another random stream than the int of the same value."""
    first, again = (
        ClientSampler(5, weights).draw(
            3, np.random.default_rng(7), eligible, with_replacement=with_replacement
        )
        for _ in range(2)
    )
    assert {type(k) for k in first} == {int}
    assert first == again


def _successive(weights: tuple[int, ...]) -> dict[tuple[int, int], float]:
    """Probability of each ordered pair, drawn one after the other by weight."""
    total = sum(weights)
    return {
        (i, j): weights[i] / total * weights[j] / (total - weights[i])
        for i, j in permutations(range(len(weights)), 2)
    }


def _assert_shares(drawn: Sequence[Any], expected: Mapping[Any, float], num_draws: int) -> None:
    """Each outcome as often as expected, within five standard deviations, and no other one."""
    assert sum(expected.values()) == pytest.approx(1.0, rel=1e-12)
    assert set(drawn) <= expected.keys()
    for outcome, probability in expected.items():
        count = sum(found == outcome for found in drawn)
        deviation = (num_draws * probability * (1 - probability)) ** 0.5
        assert abs(count - num_draws * probability) <= 5 * deviation, outcome
