"""Epsilon against direct calls of the library, and against the closed form of rounds in which all clients take part."""

from math import log, log1p

import pytest

from orchestrator.errors import ConfigError
from orchestrator.federation.privacy import accountant
from orchestrator.federation.privacy.accountant import epsilon

dp_accounting = pytest.importorskip("dp_accounting")


@pytest.mark.parametrize(("z", "num_rounds", "cohort", "clients"), [(1.0, 20, 5, 20), (0.7, 3, 10, 1000)])
def test_epsilon_is_that_of_the_library(z: float, num_rounds: int, cohort: int, clients: int) -> None:
    direct = dp_accounting.rdp.RdpAccountant(
        neighboring_relation=dp_accounting.NeighboringRelation.REPLACE_ONE
    )
    for _ in range(num_rounds):
        direct.compose(
            dp_accounting.SampledWithoutReplacementDpEvent(
                clients, cohort, dp_accounting.GaussianDpEvent(z / 2)
            )
        )
    found = epsilon(z, 1e-5, num_rounds=num_rounds, cohort_size=cohort, num_clients=clients)
    assert found == pytest.approx(direct.get_epsilon(1e-5))


def test_epsilon_of_all_clients_in_every_round_has_a_closed_form() -> None:
    """Renyi divergence of order a: T a / (2 s^2) with s = z / 2; epsilon by Canonne, Kamath and Steinke (2020)."""
    z, num_rounds, delta = 4.0, 6, 1e-5
    orders = [1.0 + k / 10.0 for k in range(1, 100)] + list(range(11, 64))
    closed = min(
        num_rounds * a / (2 * (z / 2) ** 2) + log1p(-1 / a) - log(delta * a) / (a - 1) for a in orders
    )
    assert epsilon(z, delta, num_rounds=num_rounds, cohort_size=7, num_clients=7) == pytest.approx(
        closed, rel=1e-3
    )


def test_epsilon_grows_with_rounds_and_cohort_and_falls_with_noise() -> None:
    base = epsilon(1.0, 1e-5, num_rounds=10, cohort_size=10, num_clients=100)
    assert epsilon(1.0, 1e-5, num_rounds=20, cohort_size=10, num_clients=100) > base
    assert epsilon(1.0, 1e-5, num_rounds=10, cohort_size=20, num_clients=100) > base
    assert epsilon(2.0, 1e-5, num_rounds=10, cohort_size=10, num_clients=100) < base


def test_missing_library_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accountant, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"dp-accounting.*pip install 'sparsefleet\[privacy\]'"):
        accountant.require_accountant(1.0)
