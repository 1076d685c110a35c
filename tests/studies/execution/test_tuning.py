"""The choice of values by validation data."""

from collections.abc import Sequence
from pathlib import Path

from orchestrator.studies.execution.tuning import SeedRecords, choose_finalists, choose_values
from orchestrator.studies.plan import Cell, Values
from orchestrator.tracking.record import RoundRecord
from tests.support.studies import SMALL, small_plan


def _runs(values: Sequence[float]) -> SeedRecords:
    """One run of one evaluation for each of the seeds 100, 101, ...; the test accuracy is the opposite."""
    return {
        100 + number: [RoundRecord(0, 0, {"validation/accuracy": value, "eval/accuracy": 1.0 - value})]
        for number, value in enumerate(values)
    }


def _chosen(folder: Path, records: Sequence[SeedRecords]) -> dict[Cell, Values]:
    plan = small_plan(folder)
    return choose_values(plan, list(plan.tuning_entries()), records)


def test_best_two_of_the_first_seed_are_the_finalists(tmp_path: Path) -> None:
    """The later seeds decide nothing yet, and a diverged run is a finalist only when there is no other."""
    plan, nan = small_plan(tmp_path), float("nan")
    records = [
        _runs([0.5, 0.0]),
        _runs([nan]),
        *(_runs([value, 1 - value]) for value in (0.1, 0.3, 0.2, 0.3)),
    ]
    assert choose_finalists(plan, list(plan.tuning_entries()), records) == {
        Cell("digits", "dense"): [{"training.lr": 0.05}, {"training.lr": 0.1}],
        Cell("digits", "masked"): [
            {"training.lr": 0.05, "algorithm.alpha": 0.2},
            {"training.lr": 0.1, "algorithm.alpha": 0.2},
        ],
    }


def test_finalists_are_the_entries_of_the_second_stage(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    tried = {Cell("digits", "masked"): [{"training.lr": 0.1, "algorithm.alpha": 0.2}]}
    (entry,) = plan.tuning_entries(tried)
    assert entry == list(plan.tuning_entries())[-1]


def test_best_mean_over_the_tuning_seeds_wins_for_each_arm(tmp_path: Path) -> None:
    records = [
        _runs([0.5, 0.5, 0.5]),
        _runs([0.9, 0.1, 0.6]),
        *(_runs([value] * 3) for value in (0.1, 0.2, 0.8, 0.3)),
    ]
    assert _chosen(tmp_path, records) == {
        Cell("digits", "dense"): {"training.lr": 0.1},
        Cell("digits", "masked"): {"training.lr": 0.1, "algorithm.alpha": 0.05},
    }


def test_arm_with_a_measure_of_its_own_is_chosen_by_it(tmp_path: Path) -> None:
    """Both rates have records of both accuracies, which rank them in opposite orders."""
    text = SMALL.replace(
        "measures:\n", "measures:\n  personal: {metric: personal_accuracy, direction: higher}\n"
    )
    text = text.replace("{algorithm: {name: fedavg}}}", "{algorithm: {name: ditto}}, tuned_by: personal}")
    plan = small_plan(tmp_path, text=text)
    records: list[SeedRecords] = []
    for accuracy, personal in ((0.9, 0.2), (0.1, 0.8), *((0.5, 0.5) for _ in range(4))):
        metrics = {"validation/accuracy": accuracy, "validation/personal_accuracy_mean": personal}
        records.append({seed: [RoundRecord(0, 0, metrics)] for seed in (100, 101, 102)})
    chosen = choose_values(plan, list(plan.tuning_entries()), records)
    assert chosen[Cell("digits", "dense")] == {"training.lr": 0.1}
    assert chosen[Cell("digits", "masked")] == {"training.lr": 0.05, "algorithm.alpha": 0.05}


def test_diverged_and_missing_runs_lose(tmp_path: Path) -> None:
    nan = float("nan")
    records = [
        _runs([0.1, 0.1, 0.1]),
        _runs([0.9, 0.9, nan]),
        _runs([0.9, 0.9]),
        *(_runs([0.2] * 3) for _ in range(3)),
    ]
    chosen = _chosen(tmp_path, records)
    assert chosen[Cell("digits", "dense")] == {"training.lr": 0.05}
    assert chosen[Cell("digits", "masked")] == {"training.lr": 0.05, "algorithm.alpha": 0.2}, (
        "the first of equals"
    )


def test_arm_whose_runs_all_diverged_keeps_its_first_values(tmp_path: Path) -> None:
    records: list[SeedRecords] = [{} for _ in range(6)]
    assert _chosen(tmp_path, records)[Cell("digits", "dense")] == {"training.lr": 0.05}
