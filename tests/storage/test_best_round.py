"""The best round by validation data, and the end of a run without improvement."""

from math import nan

import pytest

from orchestrator.config.training import StopConfig
from orchestrator.storage.best_round import BEST_ROUND, NUM_STALE, BestRound, best_record, stop_reason
from orchestrator.tracking.record import RoundRecord

GLOBAL, PERSONAL = "validation/accuracy", "validation/personal_accuracy_mean"


def _tracked(scores: list[float | None], *, min_delta: float = 0.0, name: str = GLOBAL) -> list[RoundRecord]:
    """The records of a run with these scores; None: a round without evaluation."""
    best, records = BestRound(min_delta=min_delta, personal=name == PERSONAL), list[RoundRecord]()
    for round_idx, score in enumerate(scores):
        metrics = {} if score is None else {name: score}
        best = best.after(round_idx, metrics)
        records.append(RoundRecord(round_idx, 0, metrics if score is None else metrics | best.metrics()))
    return records


def _column(records: list[RoundRecord], name: str) -> list[float | None]:
    return [record.metrics.get(name) for record in records]


@pytest.mark.parametrize("name", [GLOBAL, PERSONAL])
def test_first_round_with_the_highest_score_is_the_best(name: str) -> None:
    records = _tracked([0.2, 0.5, 0.4, 0.5, 0.6], name=name)
    assert _column(records, BEST_ROUND) == [0, 1, 1, 1, 4]
    assert _column(records, NUM_STALE) == [0, 0, 1, 2, 0]
    assert best_record(records) is records[4]


def test_rounds_without_evaluation_do_not_count() -> None:
    records = _tracked([None, 0.5, None, None, 0.4, None])
    assert _column(records, BEST_ROUND) == [None, 1, None, None, 1, None]
    assert _column(records, NUM_STALE) == [None, 0, None, None, 1, None]
    assert best_record(records[:1]) is None


def test_small_steps_add_up_to_an_improvement() -> None:
    """0.25 is the reference until 0.375 exceeds it by 0.125; the best round is the highest score all the same."""
    records = _tracked([0.25, 0.3125, 0.34375, 0.375, 0.4375], min_delta=0.125)
    assert _column(records, BEST_ROUND) == [0, 1, 2, 3, 4]
    assert _column(records, NUM_STALE) == [0, 1, 2, 0, 1]


def test_scores_that_are_not_finite_are_no_improvement() -> None:
    records = _tracked([nan, nan, 0.5, nan])
    assert _column(records, BEST_ROUND) == [0, 0, 2, 2]
    assert _column(records, NUM_STALE) == [1, 2, 0, 1]


def test_replayed_records_give_the_same_position() -> None:
    records = _tracked([0.3, 0.2, None, 0.25, 0.2])
    start = BestRound(min_delta=0.0, personal=False)
    assert start.after_all(records).metrics() == {BEST_ROUND: 0.0, NUM_STALE: 3.0}
    assert start.after_all(records[:3]).after_all(records[3:]) == start.after_all(records)


def test_run_stops_after_its_patience() -> None:
    records = _tracked([0.3, 0.2, 0.25])
    assert stop_reason(StopConfig(patience=3), records) is None
    assert stop_reason(StopConfig(), records) is None
    assert stop_reason(StopConfig(patience=1), []) is None
    assert stop_reason(StopConfig(patience=2), records) == (
        "no better validation accuracy in 2 evaluations (training.stop.patience=2); the best round is 0"
    )
