"""The text of a comparison's tables."""

from pathlib import Path

import pytest

from orchestrator.analysis import CompareOptions, Comparison, compare
from orchestrator.analysis.report.tables import cap_table, main_table, share_text
from orchestrator.analysis.statistics import spread
from tests.support.comparisons import comparison_with_baseline
from tests.support.run_folders import (
    records,
    selected,
    write_run,
)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return comparison_with_baseline(tmp_path)


def test_main_table_has_final_values_and_costs(comparison: Comparison) -> None:
    """The half width of two values with distance 0.02 is 12.7062 x 0.01."""
    table = main_table(comparison)
    assert table.headings == (
        "configuration", "", "n", "accuracy", "personal", "difference", "upload", "download", "training", "emulated"
    )  # fmt: skip
    assert table.rows == (
        ("feddst", "*", "2", "63.00±12.71", "–", "+10.00 (n=1)", "2 MB", "400 B", "2 kFLOP", "4 s"),
        ("fedavg", "*", "2", "51.00±12.71", "–", "baseline", "200 B", "400 B", "2 kFLOP", "4 s"),
        ("topk", "*", "1", "10.00", "20.00", "–", "100 B", "200 B", "1 kFLOP", "2 s"),
    )


def test_cap_table_has_values_at_caps_and_costs_to_targets(tmp_path: Path) -> None:
    """Means of three evaluations: feddst .4, .6, .63 and .4, .6, .64; fedavg .4, .5 and .4, .52."""
    for seed, values in ((0, (0.2, 0.5, 0.5, 0.5)), (1, (0.2, 0.46, 0.54, 0.56))):
        write_run(tmp_path / f"fedavg-{seed}", seed=seed, rounds=records(*values))
    for seed, values in ((1, (0.1, 0.5, 0.6, 0.7, 0.59)), (2, (0.1, 0.4, 0.7, 0.7, 0.52))):
        rounds = records(*values, bytes_a_round=1e6)
        write_run(tmp_path / f"feddst-{seed}", method="feddst", seed=seed, rounds=rounds)
    write_run(tmp_path / "topk-9", method="topk", seed=9, rounds=records(0.9, 0.9))
    options = CompareOptions(baseline="fedavg", upload_caps=[1e6], targets=[0.51, 0.6])
    table = cap_table(compare(selected(tmp_path), options))
    assert table.headings == ("configuration", "by 1 MB", "to 51%", "to 60%")
    assert sorted(table.rows) == [
        ("fedavg", "53.00±38.12", "1 of 2", "–"),
        ("feddst", "10.00±0.00", "4s, 2MB", "4s, 2MB"),
        ("topk", "90.00", "–", "–"),
    ]


def test_main_table_without_baseline_has_no_difference_column(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    table = main_table(compare(selected(tmp_path)))
    assert "difference" not in table.headings
    assert {len(row) for row in table.rows} == {len(table.headings)}


def test_share_text_formats_percentages() -> None:
    assert share_text(spread([0.5])) == "50.00"
    assert share_text(spread([-0.25]), sign=True) == "-25.00"
    assert share_text(spread([0.5, None, 0.5])) == "2 of 3"
    assert share_text(spread([None])) == "–"
    assert share_text(spread([])) == "–"
