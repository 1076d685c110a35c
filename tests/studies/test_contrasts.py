"""Contrasts: pairs of arms, paired seeds and Holm's correction over the study."""

from pathlib import Path

import pytest

from orchestrator.analysis.runs import ComparedRun
from orchestrator.studies.contrasts import compute_contrasts, pairs_of
from orchestrator.studies.plan import Cell
from tests.support.studies import SMALL, compared_run, small_plan

#: a contrast of costs until a common accuracy
TARGET = "  time: {a: [masked], b: [dense], measure: upload, at: target, target: accuracy}\nclaims:"


def _runs(
    folder: Path, outcomes: dict[str, list[float]], upload: float = 100_000.0
) -> dict[Cell, dict[int, ComparedRun]]:
    """Runs of ten rounds whose accuracy is constant, and which upload 1 MB in all."""
    return {
        Cell("digits", arm): {
            seed: compared_run(folder / f"{arm}-{seed}", seed, [value] * 10, upload=upload)
            for seed, value in enumerate(values)
        }
        for arm, values in outcomes.items()
    }


def test_contrast_expands_to_every_pair_of_arms(tmp_path: Path) -> None:
    plan = small_plan(tmp_path)
    pairs = list(pairs_of(plan, plan.study.contrasts["at-cap"]))
    assert pairs == [("digits", "masked", "dense"), ("digits", "masked", "frozen")]


def test_differences_are_paired_by_seed_and_corrected_over_all_contrasts(tmp_path: Path) -> None:
    outcomes = {"masked": [0.5, 0.7, 0.6], "dense": [0.4, 0.5, 0.5], "frozen": [0.5, 0.6, 0.7]}
    results, notes = compute_contrasts(small_plan(tmp_path, num_seeds=3), _runs(tmp_path, outcomes))
    first, second, upload = results
    assert first.difference.values == pytest.approx((0.1, 0.2, 0.1))
    assert second.difference.values == pytest.approx((0.0, 0.1, -0.1))
    assert (first.seeds, first.values_a) == ((0, 1, 2), (0.5, 0.7, 0.6))
    # t = (0.4 / 3) / (0.1 / 3) = 4 with 2 degrees of freedom: p = 1 - 4 / sqrt(2 + 16)
    assert first.p_value == pytest.approx(1.0 - 4.0 / 18.0**0.5)
    assert second.p_value == pytest.approx(1.0)
    assert upload.p_value == 1.0, "equal uploads do not differ"
    assert first.corrected == pytest.approx(3.0 * (1.0 - 4.0 / 18.0**0.5))
    assert not notes


def test_runs_with_other_partitions_are_not_paired(tmp_path: Path) -> None:
    runs = _runs(tmp_path, {"masked": [0.5, 0.7], "dense": [0.4, 0.5], "frozen": [0.5, 0.6]})
    cell = Cell("digits", "dense")
    moved = {**runs[cell], 1: compared_run(tmp_path / "other", 1, [0.5] * 10, upload=100_000.0)}
    object.__setattr__(moved[1], "fingerprint", {"data": "d", "partition": "another"})
    results, notes = compute_contrasts(small_plan(tmp_path), {**runs, cell: moved})
    assert results[0].seeds == (0,)
    assert any("partition differs" in note for note in notes)


def test_baseline_that_did_not_use_the_cap_up_has_no_difference(tmp_path: Path) -> None:
    outcomes = {"masked": [0.5, 0.7], "dense": [0.4, 0.5], "frozen": [0.5, 0.6]}
    results, _ = compute_contrasts(small_plan(tmp_path), _runs(tmp_path, outcomes, upload=50_000.0))
    assert [result.difference.mean for result in results[:2]] == [None, None]
    assert (results[0].p_value, results[0].corrected) == (None, None)


def test_costs_are_compared_at_the_accuracy_that_both_arms_reach(tmp_path: Path) -> None:
    """Final accuracies 0.8 and 0.9: the target is 95 % of 0.8, which one arm reaches in round 2 and one in round 6."""
    plan = small_plan(tmp_path, text=SMALL.replace("claims:", TARGET, 1))
    curves = {"masked": [0.1, 0.1, *[0.8] * 8], "dense": [*[0.1] * 6, *[0.9] * 8], "frozen": [0.5] * 10}
    runs = {
        Cell("digits", arm): {
            seed: compared_run(tmp_path / f"{arm}-{seed}", seed, curve, upload=10.0) for seed in (0, 1)
        }
        for arm, curve in curves.items()
    }
    results, _ = compute_contrasts(plan, runs)
    assert (results[-1].values_a, results[-1].values_b) == ((30.0, 30.0), (70.0, 70.0))
