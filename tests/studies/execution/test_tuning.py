"""The choice of values by validation data."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.studies.execution.tuning import SeedRecords, choose_values
from orchestrator.studies.plan import Cell
from orchestrator.tracking.record import RoundRecord
from tests.support.studies import small_plan


def _runs(values: Sequence[float]) -> SeedRecords:
    """One run of one evaluation for each of the seeds 100, 101, ...; the test accuracy is the opposite."""
    return {
        100 + number: [RoundRecord(0, 0, {"validation/accuracy": value, "eval/accuracy": 1.0 - value})]
        for number, value in enumerate(values)
    }


def test_best_mean_over_the_tuning_seeds_wins_for_each_arm(tmp_path: Path) -> None:
    records = [
        _runs([0.5, 0.5, 0.5]),
        _runs([0.9, 0.1, 0.6]),
        *(_runs([value] * 3) for value in (0.1, 0.2, 0.8, 0.3)),
    ]
    assert choose_values(small_plan(tmp_path), records) == {
        Cell("digits", "dense"): {"training.lr": 0.1},
        Cell("digits", "masked"): {"training.lr": 0.1, "algorithm.alpha": 0.05},
    }


def test_diverged_and_missing_runs_lose(tmp_path: Path) -> None:
    nan = float("nan")
    records = [
        _runs([0.1, 0.1, 0.1]),
        _runs([0.9, 0.9, nan]),
        _runs([0.9, 0.9]),
        *(_runs([0.2] * 3) for _ in range(3)),
    ]
    chosen = choose_values(small_plan(tmp_path), records)
    assert chosen[Cell("digits", "dense")] == {"training.lr": 0.05}
    assert chosen[Cell("digits", "masked")] == {"training.lr": 0.05, "algorithm.alpha": 0.2}, (
        "the first of equals"
    )


def test_arm_whose_runs_all_diverged_keeps_its_first_values(tmp_path: Path) -> None:
    records: list[SeedRecords] = [{} for _ in range(6)]
    assert choose_values(small_plan(tmp_path), records)[Cell("digits", "dense")] == {"training.lr": 0.05}
