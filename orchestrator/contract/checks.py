"""Every promise of a method by name: one function each, with the experiment that the method is checked in.

A check raises AssertionError with the promise that was broken and what most often breaks it, and TypeError for
a state that is no tree of tensors and numbers; what a hook raises on the server comes through as it is.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from orchestrator.contract.payloads import (
    check_bytes_are_the_closed_form,
    check_payloads_are_within_their_density,
    check_the_mask_holds_after_every_step,
    check_updates_are_admitted,
)
from orchestrator.contract.purity import check_inputs_are_left_alone, check_scoring_leaves_no_trace
from orchestrator.contract.repeatable import (
    check_deterministic,
    check_independent_of_the_host,
    check_pickled_copy_is_the_same,
    check_states_survive_a_commit,
)
from orchestrator.experiment.experiment import Experiment

Check = Callable[[Experiment], None]

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        "deterministic": check_deterministic,
        "independent of the host": check_independent_of_the_host,
        "pickled copy is the same": check_pickled_copy_is_the_same,
        "inputs are left alone": check_inputs_are_left_alone,
        "the mask holds after every step": check_the_mask_holds_after_every_step,
        "payloads are within their density": check_payloads_are_within_their_density,
        "updates are admitted": check_updates_are_admitted,
        "bytes are the closed form": check_bytes_are_the_closed_form,
        "states survive a commit": check_states_survive_a_commit,
        "scoring leaves no trace": check_scoring_leaves_no_trace,
    }
)
