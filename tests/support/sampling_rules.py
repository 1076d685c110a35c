"""Sampling rules as users write them."""

from collections.abc import Sequence

import numpy as np

from orchestrator.fleet.own_sampling import SelectionFacts


def largest_losses(facts: SelectionFacts, rng: np.random.Generator, share: float = 0.5) -> Sequence[int]:
    """New clients first, then those with the largest losses; the rest of the cohort at random."""
    losses = np.where(np.isnan(facts.last_loss), np.inf, facts.last_loss)[facts.candidates]
    ranked = facts.candidates[np.argsort(-losses, kind="stable")]
    num_first = int(share * facts.num_wanted)
    rest = rng.permutation(ranked[num_first:])[: facts.num_wanted - num_first]
    return [*ranked[:num_first].tolist(), *rest.tolist()]
