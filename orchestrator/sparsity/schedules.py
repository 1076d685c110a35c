"""Schedules over the rounds (0-based): the sparsity level, and the share of weights that are readjusted."""

from math import cos, pi

from orchestrator.config.sections import ScheduleConfig


def scheduled_density(schedule: ScheduleConfig, level: float, round_idx: int, num_rounds: int) -> float:
    """Density in round r: 1 - `level` at r = 0, 1 - `final_level` from `end_round` R_end on.

    With p = r / R_end, the level has covered this part of the difference:

    - linear: p.
    - cosine: (1 - cos(pi p)) / 2.
    - cubic: 1 - (1 - p)^3 (gradual pruning, Zhu and Gupta, arXiv 1710.01878, eq. 1).
    - step: floor(n p) / n with n = `num_steps`. Step i of n equal steps comes in round ceil(i R_end / n), and the last
      step in round R_end. When n > R_end, several steps come in the same round.
    - constant: 0.
    """
    final = level if schedule.final_level is None else schedule.final_level
    end_round = num_rounds // 2 if schedule.end_round is None else schedule.end_round
    if schedule.kind == "constant":
        return 1.0 - level
    if round_idx >= end_round:
        return 1.0 - final
    progress = round_idx / end_round
    if schedule.kind == "cosine":
        progress = (1 - cos(pi * progress)) / 2
    elif schedule.kind == "cubic":
        progress = 1 - (1 - progress) ** 3
    elif schedule.kind == "step":
        progress = schedule.num_steps * round_idx // end_round / schedule.num_steps
    return 1.0 - (level + (final - level) * progress)


def cosine_anneal(initial: float, round_idx: int, end_round: int) -> float:
    """Return initial / 2 * (1 + cos(pi r / R_end)) in round r < R_end, then 0 (RigL, arXiv 1911.11134, sec. 3)."""
    if round_idx >= end_round:
        return 0.0
    return initial / 2 * (1 + cos(pi * round_idx / end_round))
