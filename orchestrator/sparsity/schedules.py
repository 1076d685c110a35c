"""Schedules over the rounds (0-based): the change of the density, and the share of weights that are readjusted."""

from math import cos, pi

from orchestrator.config.sections import ScheduleConfig


def schedule_progress(schedule: ScheduleConfig, round_idx: int, num_rounds: int) -> float:
    """Share of its change that the density has made in round r.

    Built-in kinds start with 0 at r = 0, and have exactly 1 from `end_round` R_end on.

    With p = r / R_end, the share is:

    - linear: p.
    - cosine: (1 - cos(pi p)) / 2.
    - cubic: 1 - (1 - p)^3 (gradual pruning, Zhu and Gupta, arXiv 1710.01878, eq. 1).
    - step: floor(n p) / n with n = `num_steps`. Step i of n equal steps comes in round ceil(i R_end / n), and the last
      step in round R_end. When n > R_end, several steps come in the same round.
    - constant: 0.
    - a user's function: what the function returned for the round; `end_round` has no effect.
    """
    if (share := schedule.own_share(round_idx)) is not None:
        return share
    if schedule.kind == "constant":
        return 0.0
    end_round = num_rounds // 2 if schedule.end_round is None else schedule.end_round
    if round_idx >= end_round:
        return 1.0
    progress = round_idx / end_round
    if schedule.kind == "cosine":
        return (1 - cos(pi * progress)) / 2
    if schedule.kind == "cubic":
        return 1 - (1 - progress) ** 3
    if schedule.kind == "step":
        return schedule.num_steps * round_idx // end_round / schedule.num_steps
    return progress


def cosine_anneal(initial: float, round_idx: int, end_round: int) -> float:
    """Return initial / 2 * (1 + cos(pi r / R_end)) in round r < R_end, then 0 (RigL, arXiv 1911.11134, sec. 3)."""
    if round_idx >= end_round:
        return 0.0
    return initial / 2 * (1 + cos(pi * round_idx / end_round))
