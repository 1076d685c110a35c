"""The privacy loss of a run, by the accountant of the library dp-accounting.

The guarantee is user-level (epsilon, delta) differential privacy in the replace-one sense: two populations are
neighbours if one client has other samples. With C = `privacy.clip_norm`, this client moves the sum of the clipped
changes by at most 2 C. Noise of standard deviation z C is therefore z / 2 times the sensitivity.

Like the run, the accountant samples a fixed number of clients in each round, uniformly without replacement. It composes
the rounds by Renyi differential privacy with the bound of Wang, Balle and Kasiviswanathan, "Subsampled Renyi
Differential Privacy and Analytical Moments Accountant", AISTATS 2019, arXiv 1808.00087, theorem 27.

Many papers report a smaller epsilon for the same noise: they assume Poisson sampling, where each client takes part
independently, and neighbours where one client is missing. Neither is true of a cohort of fixed size.
"""

from importlib.util import find_spec

from orchestrator.errors import ConfigError


def require_accountant(noise_multiplier: float) -> None:
    """Raise ConfigError if the library is not installed."""
    if find_spec("dp_accounting") is None:
        problem = "the package dp-accounting, which computes epsilon, is not installed"
        raise ConfigError(
            "privacy.noise_multiplier", noise_multiplier, problem, "pip install 'sparsefleet[privacy]'"
        )


def epsilon(
    noise_multiplier: float, delta: float, *, num_rounds: int, cohort_size: int, num_clients: int
) -> float:
    """Epsilon after `num_rounds` rounds of `cohort_size` of `num_clients` clients."""
    from dp_accounting import GaussianDpEvent, NeighboringRelation, SampledWithoutReplacementDpEvent
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.REPLACE_ONE)
    mechanism = GaussianDpEvent(noise_multiplier / 2.0)
    accountant.compose(SampledWithoutReplacementDpEvent(num_clients, cohort_size, mechanism), num_rounds)
    return float(accountant.get_epsilon(delta))
