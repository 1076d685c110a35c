"""All checks of a method, by name. A check is a function of the experiment in which it runs the method.

A check raises AssertionError when the method breaks the rule; the message names the most common cause. A check raises
TypeError for a state that is not a tree of tensors and numbers. Errors of hooks on the server pass through.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from orchestrator.contract.payloads import (
    check_masked_weights_stay_zero,
    check_message_sizes,
    check_payloads_are_within_their_density,
    check_updates_are_accepted,
)
from orchestrator.contract.purity import check_inputs_are_not_changed, check_scoring_changes_nothing
from orchestrator.contract.repeatable import (
    check_deterministic,
    check_independent_of_the_process,
    check_pickled_copy_is_the_same,
    check_states_survive_a_checkpoint,
)
from orchestrator.experiment.experiment import Experiment

Check = Callable[[Experiment], None]

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "deterministic": check_deterministic,
        "independent of the process": check_independent_of_the_process,
        "pickled copy is the same": check_pickled_copy_is_the_same,
        "inputs are not changed": check_inputs_are_not_changed,
        "masked weights stay zero after every step": check_masked_weights_stay_zero,
        "payloads are within their density": check_payloads_are_within_their_density,
        "updates are accepted": check_updates_are_accepted,
        "message sizes match the closed form": check_message_sizes,
        "states survive a checkpoint": check_states_survive_a_checkpoint,
        "scoring changes nothing": check_scoring_changes_nothing,
    }
)
