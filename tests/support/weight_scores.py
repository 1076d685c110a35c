"""Scores of the 252 weights of `tests.support.nets.small_cnn`, and masks that keep the largest scores."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from orchestrator.federation.algorithm import ServerState


def random_scores(seed: int = 0) -> Tensor:
    """float32[252] in [0, 1)."""
    return torch.from_numpy(np.random.default_rng(seed).random(252).astype(np.float32))


def kept(state: ServerState) -> list[int]:
    """Indices of the weights inside the server's mask, from 0 to 251."""
    assert state.mask is not None
    return torch.cat([state.mask[:36], state.mask[40:256]]).nonzero().view(-1).tolist()


def largest(score: Tensor, among: Sequence[int], count: int) -> set[int]:
    """Indices of the largest scores. Of equal scores the lower index comes first."""
    return set(sorted(among, key=lambda i: (-float(score[i]), i))[:count])
