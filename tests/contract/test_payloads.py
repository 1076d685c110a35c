"""Methods that send or keep weights outside the mask, or more than their density allows, are detected."""

from collections.abc import Callable

import pytest

from orchestrator.contract import contract_experiment
from orchestrator.contract.payloads import (
    check_masked_weights_stay_zero,
    check_message_sizes,
    check_payloads_are_within_their_density,
    check_updates_are_accepted,
)
from orchestrator.experiment.experiment import Experiment

BROKEN = "tests.support.broken_methods"


@pytest.mark.parametrize(
    ("name", "token"), [("StepsOutOfTheMask", "step 1 gave"), ("LeavesTheServerDense", "the server state")]
)
def test_weights_outside_the_mask_are_detected(name: str, token: str) -> None:
    with pytest.raises(AssertionError, match=token):
        check_masked_weights_stay_zero(contract_experiment(f"{BROKEN}:{name}"))


def test_payload_above_the_density_is_detected_with_both_numbers() -> None:
    """Of 33,800 weights in three layers nine tenths are sent, 30,420; half of all 34,110 entries may be, 17,055."""
    with pytest.raises(AssertionError, match=r"30420 .* 17055"):
        check_payloads_are_within_their_density(contract_experiment(f"{BROKEN}:SendsTooMuch"))


def test_update_under_another_mask_than_the_received_one_is_detected() -> None:
    with pytest.raises(AssertionError, match="round 0"):
        check_updates_are_accepted(contract_experiment(f"{BROKEN}:SendsAnotherMask"))


@pytest.mark.parametrize(
    "check",
    [
        check_masked_weights_stay_zero,
        check_payloads_are_within_their_density,
        check_updates_are_accepted,
        check_message_sizes,
    ],
)
def test_correct_method_passes(check: Callable[[Experiment], None]) -> None:
    check(contract_experiment(f"{BROKEN}:Masked"))


@pytest.mark.parametrize("name", ["fedavg", "feddst", "fedspa", "heterofl", "fedpm", "dispfl", "ssfl"])
def test_int8_messages_have_the_closed_form_and_are_accepted(name: str) -> None:
    made = contract_experiment(name, ["wire.value_dtype=int8"])
    check_message_sizes(made)
    check_updates_are_accepted(made)
