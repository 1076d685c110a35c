"""How the sparsity level and the share of readjusted weights move over the rounds (0-based)."""

from math import cos, pi

from orchestrator.config.sections import ScheduleConfig


def scheduled_density(schedule: ScheduleConfig, level: float, round_idx: int, num_rounds: int) -> float:
    """Density in round r: 1 - `level` at r = 0, 1 - `final_level` from `end_round` R_end on.

    With p = r / R_end the share of the way gone is p (linear), (1 - cos(pi p)) / 2 (cosine) or 1 - (1 - p)^3
    (cubic: gradual pruning, Zhu and Gupta, arXiv 1710.01878, eq. 1). With n = `num_steps` it is floor(n p) / n
    (step): jump i of n, all of one height, comes in round ceil(i R_end / n), the last in R_end; where n > R_end
    several come in one round. A constant schedule stays at `level`.
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
    """initial / 2 * (1 + cos(pi r / R_end)) in round r < R_end, then 0 (RigL, arXiv 1911.11134, sec. 3)."""
    if round_idx >= end_round:
        return 0.0
    return initial / 2 * (1 + cos(pi * round_idx / end_round))
