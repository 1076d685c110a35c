"""The bandit P-UCBV of FedLPS's public code with its faults, to compare with that code.

`orchestrator.federation.bases.keep_ratio` implements the described bandit. This module reproduces these faults:

1. Arms cover [0.5, 1], and the ratio is min(capability, chosen ratio). For capabilities up to 0.5 the bandit has no
   effect.
2. Rewards have the order in which their arms were created, arms and pulls the order of ratios. After the first split,
   the score of an arm uses its own pulls and another arm's rewards.
3. The horizon is rounds / cohort, not the number of plays. The bonus is therefore 0 after a few plays.
4. The reward goes to the arm that contains the used ratio, not to the played arm. A ratio below all arms credits the
   last arm, and a ratio above all lower bounds the first arm.
5. Accuracies are fractions, but the utility and the limit for deletion expect percent. No arm is deleted.
6. A deletion would delete the rewards of the arm after the deleted arm.
7. The first accuracy is compared with 0, which favours the arm that is tried first.

Legend: A = arms, now. All tensors are float64.
"""

from dataclasses import dataclass, field, replace
from math import exp

import numpy as np
import torch
from torch import Tensor

from orchestrator.method import ucbv_index

#: percentage points of accuracy that an arm may lose before it is deleted
LARGEST_DROP = 5.0
#: columns of `CodedBandit.arms`
LOW, HIGH, PULLS = range(3)
#: columns of `CodedBandit.rewards`
KEY, NUM_REWARDS, REWARD_SUM, REWARD_SQUARES = range(4)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CodedBandit:
    """The state of one client's bandit, as a plain tree.

    `arms` is float64[A, 3] in order of ratio: low, high, pulls. `rewards` is float64[A, 4] in order of insertion:
    the lower bound it is kept under, number of rewards, their sum, the sum of their squares. `last_ratio` is the
    ratio that awaits its reward; accuracies are fractions, 0 before the first reward.
    """

    arms: Tensor = field(metadata={"grows": True})
    rewards: Tensor = field(metadata={"grows": True})
    num_plays: int = 0
    last_ratio: float = 1.0
    best_accuracy: float = 0.0
    last_accuracy: float = 0.0


def new_coded_bandit() -> CodedBandit:
    """Arms [0.5, 0.6], ..., [0.9, 1], each with one pull and one reward of 0."""
    edges = torch.linspace(0.5, 1.0, 6, dtype=torch.float64)
    one, zero = torch.ones(5, dtype=torch.float64), torch.zeros(5, dtype=torch.float64)
    return CodedBandit(
        arms=torch.stack([edges[:-1], edges[1:], one], dim=1),
        rewards=torch.stack([edges[:-1], one, zero, zero], dim=1),
    )


def choose_as_coded(
    bandit: CodedBandit, num_rounds: int, cohort: int, rng: np.random.Generator, capability: float
) -> tuple[CodedBandit, float]:
    """Play once. Return the bandit whose played cell is split at the sampled ratio, and min(capability, ratio).

    With probability 1 / max(m, 1), m = plays so far, the arm is uniform, else the first of largest `coded_scores`.
    """
    if rng.random() < 1.0 / max(bandit.num_plays, 1):
        row = int(rng.integers(len(bandit.arms)))
    else:
        row = int(coded_scores(bandit, num_rounds, cohort).argmax())
    low, high = (float(bound) for bound in bandit.arms[row, [LOW, HIGH]])
    draw = float(rng.uniform(low, high))
    arms = torch.cat([bandit.arms[: row + 1], bandit.arms[row:]])
    arms[row, HIGH] = arms[row + 1, LOW] = draw
    arms[row + 1, PULLS] += 1.0
    inherited = bandit.rewards[_reward_row(bandit.rewards, low)].clone()
    inherited[KEY] = draw
    ratio = min(capability, draw)
    return replace(
        bandit,
        arms=arms,
        rewards=torch.cat([bandit.rewards, inherited[None]]),
        num_plays=bandit.num_plays + 1,
        last_ratio=ratio,
    ), ratio


def coded_scores(bandit: CodedBandit, num_rounds: int, cohort: int) -> Tensor:
    """float64[A]: `ucbv_index` at horizon rounds / cohort, of the j-th rewards inserted and the j-th arm's pulls."""
    count = bandit.rewards[:, NUM_REWARDS]
    mean = bandit.rewards[:, REWARD_SUM] / count
    variance = (bandit.rewards[:, REWARD_SQUARES] / count - mean**2).clamp(min=0.0)
    return ucbv_index(mean, variance, bandit.arms[:, PULLS], num_rounds / cohort, bandit.num_plays)


def credit_as_coded(bandit: CodedBandit, accuracy: float, cost: float) -> CodedBandit:
    """Give (U(accuracy) - U(best earlier accuracy)) / cost to the arm that `credited_arm` finds.

    `accuracy` is a fraction. A drop of more than 5, which fractions cannot reach, deletes that arm and the rewards
    of the one after it; raises IndexError where none comes after it, as the public code would.
    """
    row = credited_arm(bandit.arms[:, LOW], bandit.last_ratio)
    reward = (utility(accuracy) - utility(bandit.best_accuracy)) / cost
    arms, rewards = bandit.arms, bandit.rewards.clone()
    at = _reward_row(rewards, float(arms[row, LOW]))
    rewards[at, NUM_REWARDS:] += torch.tensor([1.0, reward, reward**2], dtype=torch.float64)
    if accuracy - bandit.last_accuracy < -LARGEST_DROP:
        remaining = [i for i in range(len(arms)) if i != row % len(arms)]
        arms = arms[remaining]
        wrong = _reward_row(rewards, float(arms[row, LOW]))
        rewards = torch.cat([rewards[:wrong], rewards[wrong + 1 :]])
    return replace(
        bandit,
        arms=arms,
        rewards=rewards,
        best_accuracy=max(bandit.best_accuracy, accuracy),
        last_accuracy=accuracy,
    )


def credited_arm(lows: Tensor, ratio: float) -> int:
    """Index before the first lower bound (float64[A], ascending) above the ratio; 0 where no bound is above it.

    -1, the last arm, for a ratio below all bounds.
    """
    above = (lows > ratio).nonzero().flatten()
    return int(above[0]) - 1 if len(above) else 0


def _reward_row(rewards: Tensor, low: float) -> int:
    """Where the rewards kept under a lower bound are; KeyError if they were dropped."""
    found = (rewards[:, KEY] == low).nonzero().flatten()
    if not len(found):
        raise KeyError(low)
    return int(found[0])


def utility(accuracy: float) -> float:
    """U(x) = 10 - 20 / (1 + exp(0.35 x)), for percent: U(0) = 0, and U increases towards 10."""
    return 10.0 - 20.0 / (1.0 + exp(0.35 * accuracy))
