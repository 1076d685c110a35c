"""The plots of a report."""

from pathlib import Path

from orchestrator.studies.report.plots import plot_settings
from orchestrator.studies.results import StudyResults
from tests.support.studies import small_results

PNG = b"\x89PNG\r\n\x1a\n"


def test_every_setting_with_runs_has_a_plot(results: StudyResults, tmp_path: Path) -> None:
    plots = plot_settings(results, tmp_path)
    assert plots == {"digits": tmp_path / "digits.png"}
    assert plots["digits"].read_bytes().startswith(PNG)


def test_setting_without_runs_has_no_plot(tmp_path: Path) -> None:
    assert plot_settings(small_results(tmp_path, {}), tmp_path) == {}
