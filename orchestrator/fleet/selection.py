"""Who takes part in a round."""

import numpy as np


def draw_uniform(
    num_clients: int, cohort: int, rng: np.random.Generator, *, with_replacement: bool = False
) -> tuple[int, ...]:
    """`cohort` client ids, every client equally likely, in the order drawn; costs no pass over the population."""
    return tuple(int(k) for k in rng.choice(num_clients, cohort, replace=with_replacement))
