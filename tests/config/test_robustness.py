"""The sections for robust rules and attacks: numbers that follow from their values."""

import pytest

from orchestrator.config.robustness import AggregationConfig, AttackConfig


@pytest.mark.parametrize(
    ("share", "num_updates", "expected"),
    [(0.2, 5, 1), (0.2, 10, 2), (0.2, 3, 1), (0.3, 10, 3), (0.1, 30, 3), (0.0, 9, 0)],
)
def test_share_of_attackers_is_rounded_up(share: float, num_updates: int, expected: int) -> None:
    """0.1 x 30 is 3 in decimal, although its floating-point product is slightly larger."""
    assert AggregationConfig(attacker_share=share).num_attackers(num_updates) == expected


@pytest.mark.parametrize(
    ("share", "num_clients", "expected"),
    [(0.2, 20, 4), (0.2, 6, 1), (0.25, 6, 2), (0.1, 4, 0), (0.15, 10, 2)],
)
def test_number_of_attackers_is_rounded_to_the_nearest(share: float, num_clients: int, expected: int) -> None:
    """0.25 x 6 = 1.5 gives 2."""
    assert AttackConfig(kind="sign_flip", share=share).num_attackers(num_clients) == expected
    assert AttackConfig(share=share).num_attackers(num_clients) == 0
