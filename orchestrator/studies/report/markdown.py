"""Writes a study's results as Markdown."""

from collections.abc import Iterator

from orchestrator.analysis.report.tables import TextTable
from orchestrator.studies.execution.folder import StudyState
from orchestrator.studies.report.facts import origin_lines, protocol_lines, run_lines
from orchestrator.studies.report.tables import contrast_table, evidence_table, outcome_table, verdict_table
from orchestrator.studies.results import StudyResults


def markdown_report(results: StudyResults, state: StudyState) -> str:
    """Return the report as one Markdown text."""
    return "\n".join(_lines(results, state)) + "\n"


def markdown_table(table: TextTable) -> list[str]:
    """Return the lines of a table and its caption."""
    lines = [_row(table.headings), _row(["---"] * len(table.headings)), *(_row(row) for row in table.rows)]
    return [*lines, "", table.caption, ""]


def _lines(results: StudyResults, state: StudyState) -> Iterator[str]:
    study = results.plan.study
    yield from (f"# {study.title}", "", study.question, "", f"Source: {study.paper}", "")
    yield from ("## Verdicts", "", *markdown_table(verdict_table(results)))
    yield from ("## Protocol", "", *(f"- {line}" for line in protocol_lines(results)), "")
    if notes := (*study.notes, *results.notes):
        yield from ("## Notes", "", *(f"- {note}" for note in notes), "")
    for name in results.plan.settings:
        yield from (f"## {study.settings[name].title}", "", *markdown_table(outcome_table(results, name)))
    yield from ("## Contrasts", "", *markdown_table(contrast_table(results)))
    yield from ("## Evidence", "", *markdown_table(evidence_table(results)))
    yield from ("## Origin", "", *(f"- {line}" for line in origin_lines(state)))
    yield from (f"- {line}" for line in run_lines(results))


def _row(cells: "tuple[str, ...] | list[str]") -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
