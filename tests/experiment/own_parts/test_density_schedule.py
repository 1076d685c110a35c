"""Sparsity schedules by users' functions: shares by round, and rejected functions."""

import pickle
from pathlib import Path

import pytest

from orchestrator.config.sections import SparsityConfig
from orchestrator.errors import ConfigError
from orchestrator.experiment.own_parts.density_schedule import with_density_schedule
from orchestrator.sparsity.schedules import schedule_progress


def scheduled(folder: Path, result: str) -> SparsityConfig:
    file = folder / "mine.py"
    file.write_text(f"def share(round_idx, num_rounds):\n    return {result}\n")
    schedule = {"kind": f"{file}:share", "final_level": 0.9}
    return with_density_schedule(SparsityConfig.model_validate({"level": 0.5, "schedule": schedule}), 4)


def test_function_gives_the_share_of_each_round(tmp_path: Path) -> None:
    sparsity = pickle.loads(pickle.dumps(scheduled(tmp_path, "round_idx / num_rounds")))  # noqa: S301
    shares = [schedule_progress(sparsity.schedule, round_idx, 4) for round_idx in range(6)]
    assert shares == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    assert sparsity.density_at(shares[2], default=1.0) == pytest.approx(1 - 0.7)


def test_built_in_kinds_are_unchanged() -> None:
    sparsity = SparsityConfig.model_validate({"schedule": {"kind": "linear"}})
    assert with_density_schedule(sparsity, 4) is sparsity


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ("round_idx", "returned 2 for round 2"),
        ("-0.5", "returned -0.5 for round 0"),
        ("float('nan')", "returned nan for round 0"),
        ("1 / round_idx", "raised ZeroDivisionError"),
    ],
)
def test_unusable_shares_are_rejected(tmp_path: Path, result: str, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        scheduled(tmp_path, result)
    assert caught.value.field == "sparsity.schedule.kind"
    assert problem in caught.value.problem


def test_object_that_is_no_function_is_rejected() -> None:
    sparsity = SparsityConfig.model_validate({"schedule": {"kind": "math:pi"}})
    with pytest.raises(ConfigError, match="not a function"):
        with_density_schedule(sparsity, 4)
