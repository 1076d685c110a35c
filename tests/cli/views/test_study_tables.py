"""What `reproduce` prints."""

from pathlib import Path

import pytest

from orchestrator.cli.views.study_tables import estimate_table, missing_data, print_verdicts
from orchestrator.studies.execution.session import StudyRequest
from tests.support.studies import SMALL, small_plan, small_results, small_study


def test_estimate_uses_the_given_time_of_a_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    request = StudyRequest(
        spec=str(small_study(tmp_path)), scale="quick", num_seeds=2, data=tmp_path, overrides={}, command=""
    )
    Console(width=200).print(estimate_table(request, lambda *_: 0.0))
    lines = {line.split("  ")[0]: line.split() for line in capsys.readouterr().out.splitlines()}
    assert lines["tuning"][1] == "14"
    assert lines["whole study"][2] == str(14 + 2 * 3)
    assert lines["one seed"][-2:] == ["0", "s"]


def test_missing_data_sets_are_listed_once(tmp_path: Path) -> None:
    plan = small_plan(tmp_path, text=SMALL.replace("data: digits", "data: mnist"))
    (line,) = missing_data(plan, tmp_path)
    assert line.startswith(f"Missing: --data={tmp_path}: mnist")
    assert missing_data(small_plan(tmp_path), tmp_path) == []


def test_verdicts_are_printed_with_the_place_of_the_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = small_results(tmp_path, {"masked": 0.9, "dense": 0.6, "frozen": 0.6})
    print_verdicts(results, tmp_path, quiet=False)
    out = capsys.readouterr().out
    assert "holds" in out
    assert f"Report: {tmp_path / 'report' / 'report.html'}" in out
    print_verdicts(results, tmp_path, quiet=True)
    assert capsys.readouterr().out == ""
