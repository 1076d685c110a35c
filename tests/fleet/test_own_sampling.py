"""Cohorts by a user's function: what the function knows, and which results are rejected."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ConfigError, RoundError
from orchestrator.fleet.own_sampling import SelectionFacts, load_sampling_rule, own_cohort

RNG = np.random.default_rng(0)


def _facts(*candidates: int, num_wanted: int = 2) -> SelectionFacts:
    return SelectionFacts(
        round_idx=3,
        now_s=1.5,
        num_wanted=num_wanted,
        candidates=np.array(candidates, np.int64),
        num_samples=np.array([5, 6, 7, 8]),
        last_round=np.array([-1, 2, 1, -1]),
        last_loss=np.array([np.nan, 0.5, 0.75, np.nan]),
        last_seconds=np.array([np.nan, 1.0, 2.0, np.nan]),
        available_until_s=np.full(len(candidates), np.inf),
    )


def _rejected(rule: Callable[..., Any], **options: Any) -> str:
    with pytest.raises(RoundError) as caught:
        own_cohort(rule, _facts(0, 1, 3), RNG, options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("round 3: the sampling rule of selection.kind ")
    return str(caught.value)


def test_rule_gets_facts_generator_and_options() -> None:
    facts, seen = _facts(0, 1, 3), list[object]()

    def rule(*given: object, **options: object) -> list[int]:
        seen.extend((*given, options))
        return [3, 0]

    assert own_cohort(rule, facts, RNG, {"share": 0.5}) == (3, 0)
    assert seen == [facts, RNG, {"share": 0.5}]


@pytest.mark.parametrize("cohort", [[1], (3, 1), np.array([0, 3]), range(2)])
def test_cohort_is_any_sequence_of_different_candidates(cohort: Any) -> None:
    assert own_cohort(lambda facts, rng: cohort, _facts(0, 1, 3), RNG, {}) == tuple(int(k) for k in cohort)


@pytest.mark.parametrize(
    ("cohort", "problem"),
    [
        ([], "returned 0 clients"),
        ([0, 1, 3], "returned 3 clients; return 1 to 2 different clients of facts.candidates"),
        ([1, 1], "returned client 1 more than once"),
        ([0, 2], "returned client 2, which is no candidate"),
        ([-1], "returned client -1, which is no candidate"),
        ([0.0, 1.0], "returned float64(2,)"),
        ([True], "returned bool(1,)"),
        (None, "returned object()"),
        ({0, 1}, "returned object()"),
        (3, "returned int64()"),
        ([[0, 1]], "returned int64(1, 2)"),
    ],
)
def test_wrong_result_is_one_line(cohort: Any, problem: str) -> None:
    assert problem in _rejected(lambda facts, rng: cohort)


def test_exception_of_the_rule_is_one_line() -> None:
    def rule(facts: SelectionFacts, rng: object) -> list[int]:
        raise KeyError("two\nlines")

    assert "raised KeyError" in _rejected(rule)
    assert "raised TypeError" in _rejected(rule, unknown=1)


def test_facts_cannot_be_changed() -> None:
    sizes = np.array([1, 2, 3, 4])

    def rule(facts: SelectionFacts, rng: object) -> list[int]:
        facts.num_samples[0] = 9
        return [0]

    assert "read-only" in _rejected(rule)
    assert sizes.flags.writeable


def test_rule_is_not_asked_without_candidates() -> None:
    def rule(facts: SelectionFacts, rng: object) -> list[int]:
        raise AssertionError("there is nobody to choose")

    assert own_cohort(rule, _facts(), RNG, {}) == ()


def test_only_names_with_an_object_are_loaded() -> None:
    assert load_sampling_rule("uniform") is None
    assert load_sampling_rule("tests.support.sampling_rules:largest_losses") is not None
    with pytest.raises(ConfigError, match="it is a module, not a function"):
        load_sampling_rule("tests.support.sampling_rules:np")
    with pytest.raises(ConfigError, match="has no smallest"):
        load_sampling_rule("tests.support.sampling_rules:smallest")
