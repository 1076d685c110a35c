"""Outcomes of a run, at the end, at an upload cap and on validation data."""

import pytest

from orchestrator.studies.outcomes import (
    cost_at_target,
    outcome_at_cap,
    outcome_at_end,
    validation_outcome,
)
from orchestrator.studies.schema import StudyMeasure
from orchestrator.tracking.record import RoundRecord

ACCURACY = StudyMeasure(metric="accuracy", direction="higher")
TURNOVER = StudyMeasure(metric="mask_turnover", direction="higher")
UPLOAD = StudyMeasure(metric="upload_bytes", direction="lower")
#: eight rounds with 100 uploaded bytes each, and an accuracy of 0.1, 0.2, ... 0.8
RECORDS = [
    RoundRecord(
        idx,
        0,
        {
            "eval/accuracy": (idx + 1) / 10,
            "validation/accuracy": (idx + 1) / 20,
            "comm/upload_bytes_total": 100.0 * (idx + 1),
            "sparsity/mask_change": 0.25,
        },
    )
    for idx in range(8)
]


def test_outcome_at_the_end_is_the_mean_of_the_last_five_evaluations() -> None:
    assert outcome_at_end(RECORDS, ACCURACY) == pytest.approx((0.4 + 0.5 + 0.6 + 0.7 + 0.8) / 5)
    assert outcome_at_end(RECORDS, UPLOAD) == 800.0


def test_outcome_at_the_cap_uses_the_last_five_evaluations_within_it() -> None:
    assert outcome_at_cap(RECORDS, ACCURACY, 600.0) == pytest.approx((0.2 + 0.3 + 0.4 + 0.5 + 0.6) / 5)
    assert outcome_at_cap(RECORDS, ACCURACY, 250.0) == pytest.approx(0.15)
    assert outcome_at_cap(RECORDS, UPLOAD, 250.0) == 200.0
    assert outcome_at_cap(RECORDS, ACCURACY, 50.0) is None


def test_turnover_of_the_mask_is_the_sum_over_the_rounds() -> None:
    assert outcome_at_end(RECORDS, TURNOVER) == 2.0
    assert outcome_at_cap(RECORDS, TURNOVER, 350.0) == 0.75
    assert outcome_at_cap(RECORDS, TURNOVER, 50.0) is None
    assert outcome_at_end([RoundRecord(0, 0, {"eval/accuracy": 0.5})], TURNOVER) is None
    broken = RoundRecord(8, 0, {"comm/upload_bytes_total": 900.0, "sparsity/mask_change": float("nan")})
    assert outcome_at_end([*RECORDS, broken], TURNOVER) is None


def test_run_that_did_not_use_its_cap_up_has_no_outcome_as_baseline() -> None:
    assert outcome_at_cap(RECORDS, ACCURACY, 840.0, used_up=True) is not None
    assert outcome_at_cap(RECORDS, ACCURACY, 850.0, used_up=True) is None
    assert outcome_at_cap(RECORDS, ACCURACY, 850.0) is not None


def test_tuning_uses_validation_data() -> None:
    assert validation_outcome(RECORDS, ACCURACY) == pytest.approx(0.3)
    assert validation_outcome([], ACCURACY) is None


def test_cost_at_a_target_is_that_of_the_first_evaluation_that_stays_there() -> None:
    assert cost_at_target(RECORDS, UPLOAD, ACCURACY, 0.4) == 300.0
    assert cost_at_target(RECORDS, UPLOAD, ACCURACY, 0.9) is None
