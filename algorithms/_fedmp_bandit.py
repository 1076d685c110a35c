"""E-UCB, FedMP's bandit over keep ratios: an upper confidence bound over intervals that are split where it plays.

With discount lambda, an arm [low, high) that was played s times ago with reward r has the count N = sum lambda^s and
the mean R = sum lambda^s r / N over its plays. The next arm has the largest R + sqrt(2 ln(n) / N), where n is the sum
of all counts; an arm without plays comes first. This is the discounted UCB of Garivier and Moulines (arXiv 0805.3415).
"""

from dataclasses import dataclass, field, replace
from math import inf, log, sqrt

import numpy as np
import torch
from torch import Tensor

GROWS = {"grows": True}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeepRatioBandit:
    """The bandit of one client.

    - `edges`, float64[A + 1]: the bounds of the A arms, ascending. Choices add edges.
    - `ratios` and `rewards`, float64[S]: the plays that have a reward.
    - `pending`: the ratio whose reward is still missing (0: none).
    """

    edges: Tensor = field(metadata=GROWS)
    ratios: Tensor = field(metadata=GROWS)
    rewards: Tensor = field(metadata=GROWS)
    pending: float = 0.0


def new_bandit(low: float) -> KeepRatioBandit:
    """One arm, [low, 1]."""
    none = torch.zeros(0, dtype=torch.float64)
    edges = torch.tensor([low, 1.0], dtype=torch.float64)
    return KeepRatioBandit(edges=edges, ratios=none, rewards=none)


def indices(bandit: KeepRatioBandit, discount: float) -> list[float]:
    """The upper confidence bound of each arm; infinite for an arm without plays."""
    num_plays = len(bandit.ratios)
    weights = discount ** torch.arange(num_plays - 1, -1, -1, dtype=torch.float64)
    arms = torch.bucketize(bandit.ratios, bandit.edges[1:-1], right=True)
    total = max(1.0, float(weights.sum()))
    bounds = []
    for arm in range(len(bandit.edges) - 1):
        here = arms == arm
        count = float(weights[here].sum())
        mean = float((weights * bandit.rewards)[here].sum()) / count if count else 0.0
        bounds.append(mean + sqrt(2.0 * log(total) / count) if count else inf)
    return bounds


def choose(
    bandit: KeepRatioBandit, discount: float, least_width: float, rng: np.random.Generator
) -> KeepRatioBandit:
    """Play the best arm, the lowest of equal ones: `pending` is uniform in it and splits an arm above `least_width`."""
    bounds = indices(bandit, discount)
    arm = bounds.index(max(bounds))
    low, high = (float(edge) for edge in bandit.edges[arm : arm + 2])
    ratio = float(rng.uniform(low, high)) if low < high else low
    edges = bandit.edges
    if high - low > least_width and low < ratio < high:
        edges = torch.cat([edges[: arm + 1], edges.new_tensor([ratio]), edges[arm + 1 :]])
    return replace(bandit, edges=edges, pending=ratio)


def credit(bandit: KeepRatioBandit, reward: float) -> KeepRatioBandit:
    """Give the reward to the pending play, if there is one."""
    if not bandit.pending:
        return bandit
    ratios, rewards = (
        torch.cat([old, old.new_tensor([new])])
        for old, new in ((bandit.ratios, bandit.pending), (bandit.rewards, reward))
    )
    return replace(bandit, ratios=ratios, rewards=rewards, pending=0.0)
