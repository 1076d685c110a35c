"""Methods whose rounds differ in another run, in another process or from a copy are detected."""

from collections.abc import Callable

import pytest

from orchestrator.contract import contract_experiment
from orchestrator.contract.repeatable import (
    check_deterministic,
    check_independent_of_the_process,
    check_pickled_copy_is_the_same,
    check_states_survive_a_checkpoint,
)
from orchestrator.experiment.experiment import Experiment

BROKEN = "tests.support.broken_methods"


@pytest.mark.parametrize(
    ("name", "check", "token"),
    [
        ("Remembers", check_pickled_copy_is_the_same, "num_rounds"),
        ("Unseeded", check_deterministic, r"client \d differs"),
        ("SharesAcrossRuns", check_deterministic, r"client \d differs"),
        ("RemembersInTheProcess", check_independent_of_the_process, "new process"),
    ],
)
def test_method_that_gives_other_bits_is_detected(
    name: str, check: Callable[[Experiment], None], token: str
) -> None:
    with pytest.raises(AssertionError, match=token):
        check(contract_experiment(f"{BROKEN}:{name}"))


def test_state_of_an_unsupported_type_is_detected() -> None:
    with pytest.raises(TypeError, match=r"history .*list"):
        check_states_survive_a_checkpoint(contract_experiment(f"{BROKEN}:KeepsAList"))


@pytest.mark.parametrize(
    "check",
    [
        check_deterministic,
        check_independent_of_the_process,
        check_pickled_copy_is_the_same,
        check_states_survive_a_checkpoint,
    ],
)
def test_correct_method_passes(check: Callable[[Experiment], None]) -> None:
    check(contract_experiment(f"{BROKEN}:Personal"))
