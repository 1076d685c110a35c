"""Computes the shares of a sparsity schedule that a user's function gives, once for all rounds before the run.

Client actors and the driver of a resumed run get the same numbers.
"""

from orchestrator.config.sections import SparsityConfig
from orchestrator.errors import ConfigError, RequestError
from orchestrator.plugins.loading import load_function

_KEY = "sparsity.schedule.kind"


def with_density_schedule(sparsity: SparsityConfig, num_rounds: int) -> SparsityConfig:
    """Return the section with the shares that `function(round_idx, num_rounds)` returns; unchanged for other kinds.

    A share is that of `schedule_progress`. The round `num_rounds` stands for the model after the last round.

    Raises ConfigError when the function cannot be loaded, raises, or returns anything but a number from 0 to 1.
    """
    kind = sparsity.schedule.kind
    if ":" not in kind:
        return sparsity
    function = load_function(kind, _KEY, "round_idx, num_rounds")
    try:
        shares = [float(function(round_idx, num_rounds)) for round_idx in range(num_rounds + 1)]
    except RequestError:
        raise
    except Exception as error:
        problem = f"the function raised {type(error).__name__}: {error}"
        raise ConfigError(_KEY, kind, problem, "correct the function") from error
    for round_idx, share in enumerate(shares):
        if not 0.0 <= share <= 1.0:
            problem = f"the function returned {share:g} for round {round_idx}"
            raise ConfigError(_KEY, kind, problem, "return a share from 0 to 1")
    return sparsity.model_copy(update={"schedule": sparsity.schedule.with_shares(shares)})
