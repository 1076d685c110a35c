"""Chooses a device's keep ratio: the share of each layer's units that its submodel keeps.

The ratio is fixed, with or without the device's capability as its limit, equal to the capability, or learned by a
bandit (P-UCBV): the bandit of FedLPS (arXiv 2412.07216) with the index of Efficient-UCBV (arXiv 1711.03591). The bandit
chooses the share of the capability that a submodel uses. FedLPS's published code has faults that
`algorithms._fedlps_as_coded_ratio` reproduces.

Legend: A = arms; an arm is a cell [low, high] of shares; T = horizon, the plays a bandit expects; m = plays so far.
Accuracies and costs are fractions.

Choices that the paper leaves open:

- The reward is the accuracy less a weighted cost. The public code divides the accuracy's gain by the cost. With
  accuracies in percent this quotient is 0 after the first play, because the code's utility is constant above 15 %.
- The played cell is split at the sampled share. The right half, [share, high], takes the pull and the reward.
- A deleted cell leaves a gap: the bandit does not choose its shares any more, and its neighbours keep their bounds.
- An arm starts with one pull, so that its bonus is finite. An arm without a reward counts with the mean of all rewards.
"""

from dataclasses import dataclass, field, replace
from math import isfinite, log
from typing import Literal

import numpy as np
import torch
from torch import Tensor

RatioPolicy = Literal["fixed", "capped", "capability", "p_ucbv"]

#: columns of `Bandit.arms`
LOW, HIGH, NUM_REWARDS, REWARD_SUM, REWARD_SQUARES, PULLS = range(6)
#: accuracy that an arm may lose against the play before it is deleted
LARGEST_DROP = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bandit:
    """The state of one device's bandit.

    - `arms`, float64[A, 6], ordered by share: low, high, number of rewards, sum of the rewards, sum of their squares,
      pulls. Choices add rows.
    - `played`: the row of the arm whose reward is still missing (-1: none).
    - `last_accuracy`: 0 before the first reward.
    """

    arms: Tensor = field(metadata={"grows": True})
    num_plays: int = 0
    played: int = -1
    last_accuracy: float = 0.0


def policy_ratio(policy: RatioPolicy, fixed_ratio: float, capability: float) -> float:
    """Return a device's keep ratio in (0, 1] by a policy that does not learn.

    - fixed: `fixed_ratio` for all devices;
    - capped: `fixed_ratio`, or the capability if it is smaller;
    - capability: the device's capability.

    Raises ValueError for p_ucbv, where `choose` returns the ratio, and for a ratio outside (0, 1].
    """
    if policy == "p_ucbv":
        raise ValueError("a bandit chooses the ratio of p_ucbv; call choose")
    ratio = capability if policy == "capability" else fixed_ratio
    ratio = min(ratio, capability) if policy == "capped" else ratio
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"ratio {ratio} is not in (0, 1]")
    return ratio


def new_bandit(low: float, num_arms: int = 5) -> Bandit:
    """Return a bandit over `num_arms` equal cells of [low, 1], 0 < low <= 1; one arm for low = 1.

    Raises ValueError for another bound, and for fewer than one arm.
    """
    if not 0.0 < low <= 1.0 or num_arms < 1:
        raise ValueError(f"{num_arms} arms over [{low}, 1]: need at least one, and 0 < low <= 1")
    num_arms = num_arms if low < 1.0 else 1
    edges = torch.linspace(low, 1.0, num_arms + 1, dtype=torch.float64)
    arms = torch.zeros(num_arms, 6, dtype=torch.float64)
    arms[:, LOW], arms[:, HIGH], arms[:, PULLS] = edges[:-1], edges[1:], 1.0
    return Bandit(arms=arms)


def check_bandit(bandit: Bandit) -> None:
    """Raise ValueError for a bandit without arms, and for an arm that is no cell [low, high] of (0, 1]."""
    low, high = bandit.arms[:, LOW], bandit.arms[:, HIGH]
    if not len(low) or not bool(((low > 0.0) & (low <= high) & (high <= 1.0)).all()):
        raise ValueError("the bandit's arms are no cells of (0, 1]")


def choose(bandit: Bandit, horizon: float, rng: np.random.Generator) -> tuple[Bandit, float]:
    """Play once: return the bandit with the played cell split, and the share of the capability to use.

    - With probability 1 / max(m, 1) the arm is uniform, else it is the first arm with the largest score.
    - The share is uniform on the cell.
    - Both halves of a split cell inherit rewards and pulls. The right half gets one more pull.
    - A share at a bound of the cell does not split the cell.
    - When the client fails, the play gets no reward.

    Raises ValueError unless horizon > 0.
    """
    if not horizon > 0.0:
        raise ValueError(f"horizon {horizon} must be above 0")
    if rng.random() < 1.0 / max(bandit.num_plays, 1):
        row = int(rng.integers(len(bandit.arms)))
    else:
        row = int(scores(bandit, horizon).argmax())
    low, high = (float(bound) for bound in bandit.arms[row, [LOW, HIGH]])
    share = min(float(rng.uniform(low, high)), high) if low < high else high
    arms, row = _split(bandit.arms, row, share)
    return replace(bandit, arms=arms, played=row, num_plays=bandit.num_plays + 1), share


def scores(bandit: Bandit, horizon: float) -> Tensor:
    """Return the index of each arm before play m, float64[A]; see `ucbv_index`."""
    numbers, sums = bandit.arms[:, NUM_REWARDS], bandit.arms[:, REWARD_SUM]
    count = numbers.clamp(min=1.0)
    mean = torch.where(numbers > 0.0, sums / count, sums.sum() / numbers.sum().clamp(min=1.0))
    variance = torch.where(numbers > 0.0, bandit.arms[:, REWARD_SQUARES] / count - mean**2, 0.0).clamp(
        min=0.0
    )
    return ucbv_index(mean, variance, bandit.arms[:, PULLS], horizon, bandit.num_plays)


def ucbv_index(mean: Tensor, variance: Tensor, pulls: Tensor, horizon: float, num_plays: int) -> Tensor:
    """Return mean + sqrt(0.5 (var + 2) ln(phi T eps) / (4 pulls)), phi = T / A^2, eps = 2^-m; all float64[A].

    The second term, the bonus, is 0 when the logarithm is not positive.
    """
    phi = horizon / len(mean) ** 2
    logarithm = log(phi * horizon) - num_plays * log(2.0)
    if logarithm <= 0.0:
        return mean
    return mean + (0.5 * (variance + 2.0) * logarithm / (4.0 * pulls)).sqrt()


def credit(bandit: Bandit, accuracy: float, weighted_cost: float) -> Bandit:
    """Reward the played arm with the accuracy less the weighted cost.

    When the accuracy is more than 5 points below the last accuracy, the played arm is deleted instead, unless it is
    the only arm. No arm waits for a reward afterwards.

    Raises ValueError when no arm waits for a reward, for an accuracy outside [0, 1], and for a cost that is negative or
    not finite.
    """
    if bandit.played < 0:
        raise ValueError("no arm waits for a reward; call choose first")
    if not 0.0 <= accuracy <= 1.0:
        raise ValueError(f"accuracy {accuracy} is not in [0, 1]")
    if not weighted_cost >= 0.0 or not isfinite(weighted_cost):
        raise ValueError(f"cost {weighted_cost} is negative or not finite")
    arms, row = bandit.arms.clone(), bandit.played
    if bandit.last_accuracy - accuracy > LARGEST_DROP and len(arms) > 1:
        arms = torch.cat([arms[:row], arms[row + 1 :]])
    else:
        reward = accuracy - weighted_cost
        arms[row, NUM_REWARDS : REWARD_SQUARES + 1] += torch.tensor(
            [1.0, reward, reward**2], dtype=torch.float64
        )
    return replace(bandit, arms=arms, played=-1, last_accuracy=accuracy)


def _split(arms: Tensor, row: int, share: float) -> tuple[Tensor, int]:
    """Return the arms with cell `row` split at `share`, and the row of the played half."""
    arms = arms.clone()
    if float(arms[row, LOW]) < share < float(arms[row, HIGH]):
        arms = torch.cat([arms[: row + 1], arms[row:]])
        arms[row, HIGH] = arms[row + 1, LOW] = share
        row += 1
    arms[row, PULLS] += 1.0
    return arms, row
