"""The client sampler: probabilities, eligibility and replacement."""

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from orchestrator.fleet.client_sampler import ClientSampler, Eligible

WEIGHTS = (1, 2, 3, 0, 4)


class TestUniform:
    """Clients of equal weight."""

    def test_without_replacement_no_client_is_sampled_twice(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(50):
            sampled = ClientSampler(9).sample(6, rng)
            assert len(sampled) == len(set(sampled)) == 6
            assert set(sampled) <= set(range(9))

    def test_cohort_can_be_the_whole_population(self) -> None:
        assert sorted(ClientSampler(7).sample(7, np.random.default_rng(0))) == list(range(7))

    @pytest.mark.parametrize("with_replacement", [False, True])
    def test_every_client_is_equally_likely(self, with_replacement: bool) -> None:
        """6,000 samples of 10 clients: 600 each, standard deviation at most 23.3; within five deviations."""
        rng, sampler = np.random.default_rng(0), ClientSampler(10)
        sampled = [k for _ in range(2000) for k in sampler.sample(3, rng, with_replacement=with_replacement)]
        counts = np.bincount(sampled, minlength=10)
        assert np.all(np.abs(counts - 600) < 117)

    def test_with_replacement_clients_repeat(self) -> None:
        """20 of 400 with replacement: some client twice with probability 1 - prod(1 - i / 400) = 0.38."""
        rng, sampler = np.random.default_rng(0), ClientSampler(400)
        repeated = sum(len(set(sampler.sample(20, rng, with_replacement=True))) < 20 for _ in range(1000))
        assert 0.33 < repeated / 1000 < 0.43

    @pytest.mark.parametrize("eligible", [None, lambda k: k % 2 == 0])
    def test_sampling_a_billion_clients_takes_no_pass_over_them(self, eligible: Eligible | None) -> None:
        sampled = ClientSampler(10**9).sample(5, np.random.default_rng(0), eligible)
        assert len(set(sampled)) == 5


class TestWeighted:
    """Clients of weight 1, 2, 3, 0 and 4."""

    def _sampler(self) -> ClientSampler:
        return ClientSampler(len(WEIGHTS), np.array(WEIGHTS))

    def test_clients_are_sampled_one_after_the_other_by_weight(self) -> None:
        """Every ordered pair (i, j) has the probability w_i / 10 * w_j / (10 - w_i)."""
        rng, sampler, num_samples = np.random.default_rng(0), self._sampler(), 8000
        pairs = [sampler.sample(2, rng) for _ in range(num_samples)]
        _assert_shares(pairs, _successive(WEIGHTS), num_samples)

    def test_client_of_weight_zero_is_never_sampled(self) -> None:
        rng = np.random.default_rng(0)
        assert sorted(self._sampler().sample(5, rng)) == [0, 1, 2, 4]
        assert 3 not in self._sampler().sample(500, rng, with_replacement=True)

    def test_with_replacement_each_sample_is_by_weight(self) -> None:
        sampled = self._sampler().sample(10_000, np.random.default_rng(0), with_replacement=True)
        _assert_shares(sampled, {k: w / 10 for k, w in enumerate(WEIGHTS)}, 10_000)

    def test_only_eligible_clients_are_sampled_by_weight(self) -> None:
        rng, sampler, num_samples = np.random.default_rng(0), self._sampler(), 6000
        pairs = [sampler.sample(2, rng, lambda k: k != 4) for _ in range(num_samples)]
        _assert_shares(pairs, _successive((1, 2, 3, 0, 0)), num_samples)


class TestFewEligible:
    """Of 200 clients only 17, 50 and 99 are eligible, with weights 1, 2 and 3; the others have large weights."""

    @staticmethod
    def _sampler() -> ClientSampler:
        weights = np.full(200, 10**6)
        weights[[17, 50, 99]] = 1, 2, 3
        return ClientSampler(200, weights)

    @staticmethod
    def _eligible(client_id: int) -> bool:
        return client_id in (17, 50, 99)

    def test_probabilities_are_those_of_the_weights(self) -> None:
        rng, sampler, num_samples = np.random.default_rng(0), self._sampler(), 1500
        pairs = [sampler.sample(2, rng, self._eligible) for _ in range(num_samples)]
        ids = {0: 17, 1: 50, 2: 99}
        expected = {(ids[i], ids[j]): p for (i, j), p in _successive((1, 2, 3)).items()}
        _assert_shares(pairs, expected, num_samples)

    def test_result_is_shorter_when_too_few_are_eligible(self) -> None:
        rng = np.random.default_rng(0)
        assert sorted(self._sampler().sample(9, rng, self._eligible)) == [17, 50, 99]
        assert sorted(ClientSampler(200).sample(9, rng, self._eligible)) == [17, 50, 99]
        assert self._sampler().sample(9, rng, lambda k: False) == ()

    def test_with_replacement_one_eligible_client_fills_the_cohort(self) -> None:
        sampled = self._sampler().sample(
            4, np.random.default_rng(0), lambda k: k == 50, with_replacement=True
        )
        assert sampled == (50, 50, 50, 50)

    def test_pass_over_the_population_completes_a_partial_sample(self) -> None:
        """Client 0 has nearly all of the weight. It comes first, and the pass over the population finds the rest."""
        weights = np.ones(100, dtype=np.int64)
        weights[0] = 10**12
        sampled = ClientSampler(100, weights).sample(4, np.random.default_rng(0))
        assert sampled[0] == 0
        assert len(set(sampled)) == 4


@pytest.mark.parametrize("weights", [None, np.array([1, 2, 3, 4, 5])])
@pytest.mark.parametrize("eligible", [None, lambda k: k != 1, lambda k: k == 1])
@pytest.mark.parametrize("with_replacement", [False, True])
def test_ids_are_python_ints_and_repeatable(
    weights: np.ndarray[tuple[int], np.dtype[np.int64]] | None,
    eligible: Eligible | None,
    with_replacement: bool,
) -> None:
    """The ids are part of random streams' names, and a numpy integer names another stream than the equal int."""
    first, second = (
        ClientSampler(5, weights).sample(
            3, np.random.default_rng(7), eligible, with_replacement=with_replacement
        )
        for _ in range(2)
    )
    assert {type(k) for k in first} == {int}
    assert first == second


def _successive(weights: tuple[int, ...]) -> dict[tuple[int, int], float]:
    """Probability of each ordered pair when two clients are sampled one after the other by weight."""
    total = sum(weights)
    return {
        (i, j): weights[i] / total * weights[j] / (total - weights[i])
        for i, j in permutations(range(len(weights)), 2)
    }


def _assert_shares(outcomes: Sequence[Any], expected: Mapping[Any, float], num_samples: int) -> None:
    """Check that each outcome has its expected frequency, within five standard deviations."""
    assert sum(expected.values()) == pytest.approx(1.0, rel=1e-12)
    assert set(outcomes) <= expected.keys()
    for outcome, probability in expected.items():
        count = sum(found == outcome for found in outcomes)
        deviation = (num_samples * probability * (1 - probability)) ** 0.5
        assert abs(count - num_samples * probability) <= 5 * deviation, outcome
