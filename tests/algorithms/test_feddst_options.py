"""FedDST with FedProx's term, and with a random initial mask."""

import torch

from orchestrator.contract.rounds import play
from tests.support.fakes import experiment

BASE = {"algorithm.name": "feddst", "sparsity.level": 0.5}


def test_larger_mu_keeps_clients_closer_to_the_received_model() -> None:
    """The density of the masks does not depend on mu."""
    far, near = (play(experiment({**BASE, "algorithm.mu": mu}), 1)[0] for mu in (0.0, 5.0))
    start = experiment(BASE).algorithm.init(torch.from_numpy(experiment(BASE).initial.copy())).params
    moved = [float((played.after.params - start).norm()) for played in (far, near)]
    assert moved[1] < 0.8 * moved[0]
    assert torch.equal(far.after.mask, near.after.mask)


def test_random_initial_mask_has_the_same_counts_at_other_positions() -> None:
    made = [experiment({**BASE, "algorithm.criterion": c}) for c in ("magnitude", "random")]
    masks = [e.algorithm.init(torch.from_numpy(e.initial.copy())).mask for e in made]
    layout = made[0].setting.layout
    assert layout.active(masks[0]) == layout.active(masks[1])
    assert not torch.equal(*masks)
