"""The seed alone decides which clients attack."""

from collections import Counter

from orchestrator.config.robustness import AttackConfig
from orchestrator.federation.adversary.attackers import sample_attackers

FIFTH = AttackConfig(kind="sign_flip", share=0.2)


def test_attackers_are_distinct_ascending_clients() -> None:
    attackers = sample_attackers(FIFTH, 50, 3)
    assert len(attackers) == len(set(attackers)) == 10
    assert list(attackers) == sorted(attackers)
    assert set(attackers) <= set(range(50))


def test_same_seed_gives_the_same_attackers_for_every_kind() -> None:
    other = AttackConfig(kind="label_flip", share=0.2)
    assert sample_attackers(FIFTH, 50, 3) == sample_attackers(other, 50, 3)
    assert sample_attackers(FIFTH, 50, 3) != sample_attackers(FIFTH, 50, 4)


def test_no_attack_has_no_attackers() -> None:
    assert sample_attackers(AttackConfig(), 50, 3) == ()


def test_every_client_attacks_with_the_same_probability() -> None:
    """Each of 10 clients in a fifth of 2000 draws: 400, with a standard deviation of 18."""
    counts = Counter(k for seed in range(2000) for k in sample_attackers(FIFTH, 10, seed))
    assert sum(counts.values()) == 4000
    assert all(abs(counts[k] - 400) < 5 * 18 for k in range(10))
