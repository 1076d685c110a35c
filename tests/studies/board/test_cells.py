"""The cells of the board."""

import pytest

from orchestrator.studies.board.cells import cost_cell, is_shown, outcome_cell


@pytest.mark.parametrize(
    ("metric", "mean", "half_width", "text"),
    [
        ("accuracy", "0.5", "0.01", "50.00 ± 1.00"),
        ("personal_accuracy", "0.5", "", "50.00"),
        ("upload_bytes", "2000000.0", "1000.0", "2 MB ± 1 kB"),
        ("train_loss", "0.25", "", "0.25"),
        ("accuracy", "", "", "–"),
    ],
)
def test_outcome_has_its_unit(metric: str, mean: str, half_width: str, text: str) -> None:
    row = {"metric": metric, "mean": mean, "half_width": half_width}
    assert outcome_cell(row) == text
    assert is_shown(row) == (metric.endswith("accuracy") and bool(mean))


def test_cost_has_its_unit() -> None:
    assert cost_cell({"train_flops": "2e9"}, "train_flops") == "2 GFLOP"
    assert cost_cell({"train_flops": ""}, "train_flops") == "–"
