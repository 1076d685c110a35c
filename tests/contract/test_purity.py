"""Hooks that write into their inputs, and scores that change later results, are detected."""

import pytest

from orchestrator.contract import contract_experiment
from orchestrator.contract.purity import check_inputs_are_not_changed, check_scoring_changes_nothing

BROKEN = "tests.support.broken_methods"


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("WritesIntoTheState", "server hook"),
        ("WritesIntoTheReceived", "client hook"),
        ("WritesIntoTheClientState", "client hook"),
    ],
)
def test_hook_that_writes_into_its_input_is_detected(name: str, token: str) -> None:
    with pytest.raises(AssertionError, match=token):
        check_inputs_are_not_changed(contract_experiment(f"{BROKEN}:{name}"))


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("ScoringWritesIntoTheClientState", "client's state"),
        ("ScoringChangesTheProcess", "next update"),
        ("ScoresAnotherModelEachTime", "two scores"),
    ],
)
def test_scoring_with_an_effect_is_detected(name: str, token: str) -> None:
    with pytest.raises(AssertionError, match=token):
        check_scoring_changes_nothing(contract_experiment(f"{BROKEN}:{name}"))


@pytest.mark.parametrize("name", ["Masked", "Personal"])
def test_correct_method_passes(name: str) -> None:
    check_inputs_are_not_changed(contract_experiment(f"{BROKEN}:{name}"))
    check_scoring_changes_nothing(contract_experiment(f"{BROKEN}:{name}"))
