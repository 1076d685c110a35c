"""Sampling of a cohort by a user's function, which `selection.kind` names by its file.

Legend: K = clients of the population, without unseen ones.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import RoundError
from orchestrator.formatting import counted
from orchestrator.plugins.loading import load_function

_KEY = "selection.kind"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SelectionFacts:
    """What a sampling rule may know. All arrays are read-only.

    - `round_idx`: the round, 0-based; `now_s`: emulated seconds since the start of the run.
    - `num_wanted`: the size of the cohort, with `fleet.over_selection`; fewer if there are fewer candidates.
    - `candidates` int64[n]: the clients that are available and idle, ascending.
    - `num_samples` int64[K]: training samples of each client.
    - `last_round` int64[K]: the round of each client's last participation; -1: none.
    - `last_loss` float64[K]: mean training loss of this participation; NaN: none.
    - `last_seconds` float64[K]: emulated seconds of this participation; NaN: none.
    - `available_until_s` float64[n]: emulated time until which each candidate stays available; may be infinite.
    """

    round_idx: int
    now_s: float
    num_wanted: int
    candidates: NDArray[np.int64]
    num_samples: NDArray[np.int64]
    last_round: NDArray[np.int64]
    last_loss: NDArray[np.float64]
    last_seconds: NDArray[np.float64]
    available_until_s: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Replace the arrays by read-only views, so that a rule cannot change what the sampler knows."""
        for each in fields(self):
            if isinstance(value := getattr(self, each.name), np.ndarray):
                view = value.view()
                view.flags.writeable = False
                object.__setattr__(self, each.name, view)


#: (facts, random generator of the round, **selection.options) -> client ids of the cohort, in order
SamplingRule = Callable[..., Sequence[int]]


def load_sampling_rule(kind: str) -> SamplingRule | None:
    """Return the function that `selection.kind` names; None for a built-in kind.

    Raises ConfigError when the function cannot be loaded.
    """
    if ":" not in kind:
        return None
    return load_function(kind, _KEY, "facts, rng")


def own_cohort(
    rule: SamplingRule, facts: SelectionFacts, rng: np.random.Generator, options: Mapping[str, Any]
) -> tuple[int, ...]:
    """Return the cohort that the rule chooses: 1 to `num_wanted` different candidates; () without candidates.

    `rng` is the run's stream for the cohort of the round. Raises RoundError, in one line, when the rule raises or
    returns anything else.
    """
    if not facts.candidates.size:
        return ()
    try:
        found = np.asarray(rule(facts, rng, **options))
    except Exception as error:
        raise _error(facts, f"raised {type(error).__name__}: {error}", "correct the function") from error
    expected = f"return 1 to {facts.num_wanted} different clients of facts.candidates"
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise _error(facts, f"returned {found.dtype}{found.shape}", expected)
    if not 1 <= found.size <= facts.num_wanted:
        raise _error(facts, f"returned {counted(found.size, 'client')}", expected)
    cohort = tuple(int(k) for k in found)
    if len(set(cohort)) < len(cohort):
        repeated = next(k for k in cohort if cohort.count(k) > 1)
        raise _error(facts, f"returned client {repeated} more than once", expected)
    if strangers := sorted(set(cohort) - set(facts.candidates.tolist())):
        raise _error(facts, f"returned client {strangers[0]}, which is no candidate", expected)
    return cohort


def _error(facts: SelectionFacts, what: str, remedy: str) -> RoundError:
    text = " ".join(f"round {facts.round_idx}: the sampling rule of {_KEY} {what}; {remedy}".split())
    return RoundError(text, round_idx=facts.round_idx)
