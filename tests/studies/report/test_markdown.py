"""The report as Markdown."""

from orchestrator.analysis.report.tables import TextTable
from orchestrator.studies.report.markdown import markdown_report, markdown_table
from orchestrator.studies.results import StudyResults
from tests.support.studies import study_state


def test_report_has_every_part(results: StudyResults) -> None:
    lines = markdown_report(results, study_state()).splitlines()
    headings = [line for line in lines if line.startswith("#")]
    assert headings == [
        "# A small study.",
        "## Verdicts",
        "## Protocol",
        "## Digits",
        "## Contrasts",
        "## Evidence",
        "## Origin",
    ]
    assert any(line.endswith("| holds |") for line in lines)


def test_cells_do_not_break_the_table() -> None:
    table = TextTable(headings=("a",), rows=(("x | y\nz",),), caption="c")
    assert markdown_table(table) == ["| a |", "| --- |", "| x \\| y z |", "", "c", ""]
