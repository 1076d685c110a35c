"""How much of a layer a device keeps: fixed, what it can hold, or what a bandit learns for it (P-UCBV).

P-UCBV is the bandit of FedLPS (arXiv 2412.07216) over the index of Efficient-UCBV (arXiv 1711.03591); the
names of the paper's quantities are those below. Its published code departs from it in ways that
`algorithms._fedlps_as_coded_ratio` reproduces; here is what the method describes.

Legend: A = arms, an arm being a cell [low, high] of keep ratios; T = horizon, the plays a bandit expects;
m = plays so far. Accuracies are in percent.

Choices where the paper's text was not at hand. A cell is split at the ratio drawn from it and the right half,
[ratio, high], counts as the arm that was played: it takes the pull and the reward. A deleted cell leaves a gap:
its ratios are not tried again, and its neighbours keep their bounds. An arm starts with one pull and no reward,
so that its bonus is finite. The first accuracy is compared with 0.
"""

from dataclasses import dataclass, replace
from math import exp, isfinite, log
from typing import Literal

import numpy as np
import torch
from torch import Tensor

RatioPolicy = Literal["fixed", "capability", "p_ucbv"]

#: columns of `Bandit.arms`
LOW, HIGH, NUM_REWARDS, REWARD_SUM, REWARD_SQUARES, PULLS = range(6)
#: percentage points of accuracy that an arm may cost before it is deleted
LARGEST_DROP = 5.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bandit:
    """What one device's bandit knows: a plain tree.

    `arms` is float64[A, 6], ordered by ratio: low, high, number of rewards, their sum, the sum of their squares,
    pulls. `played` is the row whose reward is awaited, -1 for none. `best_accuracy` and `last_accuracy` are in
    percent, 0 before the first reward.
    """

    arms: Tensor
    num_plays: int = 0
    played: int = -1
    best_accuracy: float = 0.0
    last_accuracy: float = 0.0


def policy_ratio(policy: RatioPolicy, fixed_ratio: float, capability: float) -> float:
    """Keep ratio in (0, 1] of a device: `fixed_ratio` whatever the device (fixed), or its capability.

    Raises ValueError for p_ucbv, whose ratio is `choose`'s, and for a ratio outside (0, 1].
    """
    if policy == "p_ucbv":
        raise ValueError("p_ucbv draws its ratio from a bandit; call choose")
    ratio = fixed_ratio if policy == "fixed" else capability
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"ratio {ratio} is not in (0, 1]")
    return ratio


def new_bandit(low: float, high: float, num_arms: int = 5) -> Bandit:
    """A bandit over `num_arms` equal cells of [low, high], 0 < low <= high <= 1; one arm where low = high.

    Raises ValueError for other bounds, and for less than one arm.
    """
    if not 0.0 < low <= high <= 1.0 or num_arms < 1:
        raise ValueError(f"{num_arms} arms over [{low}, {high}]: need at least one, and 0 < low <= high <= 1")
    num_arms = num_arms if low < high else 1
    edges = torch.linspace(low, high, num_arms + 1, dtype=torch.float64)
    arms = torch.zeros(num_arms, 6, dtype=torch.float64)
    arms[:, LOW], arms[:, HIGH], arms[:, PULLS] = edges[:-1], edges[1:], 1.0
    return Bandit(arms=arms)


def choose(bandit: Bandit, horizon: float, rng: np.random.Generator, cap: float) -> tuple[Bandit, float]:
    """Play once: the bandit with the played cell split, and a keep ratio that is at most `cap`.

    With probability 1 / max(m, 1) the arm is uniform, else the first of largest `scores`. The ratio is uniform on
    the part of the cell below `cap`; cells from `cap` up are not eligible, and keep what they know for a later,
    larger cap. Where no cell begins below `cap`, the ratio is `cap` and the lowest arm is played. Both halves of
    a split cell inherit rewards and pulls; the right half is pulled once more. A ratio at a bound splits nothing.
    A play whose reward never comes (a client that failed) stays uncredited.

    Raises ValueError unless 0 < cap <= 1 and horizon > 0.
    """
    if not 0.0 < cap <= 1.0 or not horizon > 0.0:
        raise ValueError(f"cap {cap} must be in (0, 1] and horizon {horizon} above 0")
    num_eligible = max(1, int((bandit.arms[:, LOW] < cap).count_nonzero()))
    if rng.random() < 1.0 / max(bandit.num_plays, 1):
        row = int(rng.integers(num_eligible))
    else:
        row = int(scores(bandit, horizon)[:num_eligible].argmax())
    low, high = (float(bound) for bound in bandit.arms[row, [LOW, HIGH]])
    top = min(high, cap)
    ratio = min(float(rng.uniform(low, top)), top) if low < top else top
    arms, row = _split(bandit.arms, row, ratio)
    return replace(bandit, arms=arms, played=row, num_plays=bandit.num_plays + 1), ratio


def scores(bandit: Bandit, horizon: float) -> Tensor:
    """float64[A]: the index of each arm before play m, see `ucbv_index`; eps = 2^-m."""
    count = bandit.arms[:, NUM_REWARDS].clamp(min=1.0)
    mean = bandit.arms[:, REWARD_SUM] / count
    variance = (bandit.arms[:, REWARD_SQUARES] / count - mean**2).clamp(min=0.0)
    return ucbv_index(mean, variance, bandit.arms[:, PULLS], horizon, bandit.num_plays)


def ucbv_index(mean: Tensor, variance: Tensor, pulls: Tensor, horizon: float, num_plays: int) -> Tensor:
    """mean + sqrt(0.5 (var + 2) ln(phi T eps) / (4 pulls)), phi = T / A^2, eps = 2^-m; all float64[A].

    The bonus is dropped once the logarithm is not positive.
    """
    phi = horizon / len(mean) ** 2
    logarithm = log(phi * horizon) - num_plays * log(2.0)
    if logarithm <= 0.0:
        return mean
    return mean + (0.5 * (variance + 2.0) * logarithm / (4.0 * pulls)).sqrt()


def credit(bandit: Bandit, accuracy_percent: float, cost: float) -> Bandit:
    """Reward the played arm with (U(accuracy) - U(best earlier accuracy)) / cost, and close the play.

    An accuracy more than 5 points below the last one deletes that arm instead, unless it is the only one.

    Raises ValueError without an open play, for an accuracy outside [0, 100] and for a cost that is not positive.
    """
    if bandit.played < 0:
        raise ValueError("no arm awaits a reward; call choose first")
    if not 0.0 <= accuracy_percent <= 100.0:
        raise ValueError(f"accuracy {accuracy_percent} is not a percentage")
    if not cost > 0.0 or not isfinite(cost):
        raise ValueError(f"cost {cost} is not a positive number")
    arms, row = bandit.arms.clone(), bandit.played
    if bandit.last_accuracy - accuracy_percent > LARGEST_DROP and len(arms) > 1:
        arms = torch.cat([arms[:row], arms[row + 1 :]])
    else:
        reward = (utility(accuracy_percent) - utility(bandit.best_accuracy)) / cost
        arms[row, NUM_REWARDS : REWARD_SQUARES + 1] += torch.tensor(
            [1.0, reward, reward**2], dtype=torch.float64
        )
    return replace(
        bandit,
        arms=arms,
        played=-1,
        best_accuracy=max(bandit.best_accuracy, accuracy_percent),
        last_accuracy=accuracy_percent,
    )


def utility(accuracy: float) -> float:
    """U(x) = 10 - 20 / (1 + exp(0.35 x)): 0 at 0, increasing, towards 10."""
    return 10.0 - 20.0 / (1.0 + exp(0.35 * accuracy))


def _split(arms: Tensor, row: int, ratio: float) -> tuple[Tensor, int]:
    """The arms with cell `row` cut in two at `ratio`, and the row that was played."""
    arms = arms.clone()
    if float(arms[row, LOW]) < ratio < float(arms[row, HIGH]):
        arms = torch.cat([arms[: row + 1], arms[row:]])
        arms[row, HIGH] = arms[row + 1, LOW] = ratio
        row += 1
    arms[row, PULLS] += 1.0
    return arms, row
