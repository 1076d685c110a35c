"""Names of metrics in MLflow, their order, and metrics that are always 0."""

import math

from orchestrator.tracking.presentation.metric_names import MetricPoints, final_metrics, mlflow_metric
from orchestrator.tracking.record import METRICS, RoundRecord


def _record(round_idx: int, **metrics: float) -> RoundRecord:
    return RoundRecord(
        round_idx, 1000 + round_idx, {name.replace("__", "/"): v for name, v in metrics.items()}
    )


def test_accuracies_are_the_first_section_of_the_charts_page() -> None:
    sections = sorted({mlflow_metric(name).split("/")[0] for name in METRICS})
    assert sections[0] == "eval"
    assert len({mlflow_metric(name) for name in METRICS}) == len(METRICS)


def test_metric_of_zeros_is_left_out_until_it_is_not_zero() -> None:
    points = MetricPoints(earlier_names=False)
    lines = [
        _record(0, fleet__failures=0.0),
        _record(1, fleet__failures=0.0),
        _record(2, fleet__failures=3.0),
    ]
    sent = [list(points.of_line(line, record)) for line, record in enumerate(lines)]
    name = "rounds/failures"
    assert sent == [[], [], [(name, 0.0, 1000, 0), (name, 0.0, 1001, 1), (name, 3.0, 1002, 2)]]
    assert list(points.of_line(3, _record(3, fleet__failures=0.0))) == [(name, 0.0, 1003, 3)]


def test_line_that_is_sent_again_has_the_same_points_also_in_another_process() -> None:
    lines = [_record(0, time__waited_s=0.0), _record(1, time__waited_s=2.0), _record(2, time__waited_s=0.0)]
    first, second = (MetricPoints(earlier_names=False) for _ in range(2))
    for line, record in enumerate(lines):
        expected = list(first.of_line(line, record))
        assert list(first.of_line(line, record)) == expected
        assert list(second.of_line(line, record)) == expected


def test_zero_of_a_result_is_sent() -> None:
    points = MetricPoints(earlier_names=False)
    record = _record(0, comm__upload_bytes_total=0.0, eval__accuracy=0.0)
    assert [name for name, *_ in points.of_line(0, record)] == [
        "eval/accuracy",
        "resources/upload_bytes_total",
    ]


def test_run_of_an_earlier_release_keeps_its_names_and_zeros() -> None:
    points = MetricPoints(earlier_names=True)
    record = _record(5, comm__upload_bytes=1.0, fleet__failures=0.0)
    assert {name for name, *_ in points.of_line(5, record)} == {"comm/upload_bytes", "fleet/failures"}


def test_final_metrics_are_the_numbers_of_a_summary() -> None:
    summary = {
        "run_id": "r1",
        "accuracy": 0.0,
        "interrupted": False,
        "num_failures": 0,
        "personal_accuracy": None,
    }
    assert final_metrics(summary) == {"accuracy": 0.0}
    assert final_metrics({"num_failures": 2, "num_rounds": 3}) == {"num_failures": 2.0, "num_rounds": 3.0}
    assert math.isnan(final_metrics({"accuracy": math.nan})["accuracy"])


def test_count_of_faults_that_falls_to_zero_is_sent_again() -> None:
    """A resumed sweep has no failed trial any more, and MLflow has its earlier count."""
    summary = {"num_failed": 0, "num_stopped": 0}
    assert final_metrics(summary, {"num_failed": 2.0}) == {"num_failed": 0.0}
