"""Samples which clients attack."""

from orchestrator.config.robustness import AttackConfig
from orchestrator.federation.seeds import stream


def sample_attackers(config: AttackConfig, num_clients: int, seed: int) -> tuple[int, ...]:
    """The attackers in ascending order, sampled uniformly without replacement; () without an attack.

    The stream has its own name, so that an attack changes no other random choice of the run.
    """
    count = config.num_attackers(num_clients)
    if not count:
        return ()
    chosen = stream(seed, "attack", "clients").permutation(num_clients)[:count]
    return tuple(sorted(int(client_id) for client_id in chosen))
