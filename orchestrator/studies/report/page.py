"""Writes a study's results as one HTML page without references to other files or sites."""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path

from orchestrator.analysis.report.tables import TextTable
from orchestrator.studies.execution.folder import StudyState
from orchestrator.studies.report.facts import origin_lines, protocol_lines, run_lines
from orchestrator.studies.report.tables import contrast_table, evidence_table, outcome_table, verdict_table
from orchestrator.studies.results import StudyResults

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1160px; margin: 0 auto;
  padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 8px; }
p.caption { color: #666; font-size: 13px; margin: 4px 0 12px; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 5px 10px; border-bottom: 1px solid #e6e6e6; }
th { border-bottom: 2px solid #999; }
img { max-width: 100%; }
code { overflow-wrap: anywhere; }
"""


def study_page(results: StudyResults, state: StudyState, plots: Mapping[str, Path]) -> str:
    """Return the page. `plots` has the PNG file of each setting; the page contains the images themselves."""
    study = results.plan.study
    notes = (*study.notes, *results.notes)
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<link rel="icon" href="data:,">',
        f"<title>{escape(study.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
        f"<h1>{escape(study.title)}</h1>\n<p>{escape(study.question)}</p>\n<p>Source: {escape(study.paper)}</p>",
        "<h2>Verdicts</h2>",
        html_table(verdict_table(results)),
        "<h2>Protocol</h2>",
        html_list(protocol_lines(results)),
        *(["<h2>Notes</h2>", html_list(notes)] if notes else []),
    ]
    for name in results.plan.settings:
        parts += [
            f"<h2>{escape(study.settings[name].title)}</h2>",
            html_table(outcome_table(results, name)),
            *([_image(plots[name], study.settings[name].title)] if name in plots else []),
        ]
    parts += ["<h2>Contrasts</h2>", html_table(contrast_table(results))]
    parts += ["<h2>Evidence</h2>", html_table(evidence_table(results))]
    parts += ["<h2>Origin</h2>", html_list([*origin_lines(state), *run_lines(results)]), "</body>\n</html>\n"]
    return "\n".join(parts)


def html_table(table: TextTable) -> str:
    """Return a table and its caption as HTML."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    rows = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    body = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    return f'<div class="wide">{body}</div>\n<p class="caption">{escape(table.caption)}</p>'


def html_list(lines: Iterable[str]) -> str:
    """Return lines as an HTML list."""
    return "<ul>\n" + "\n".join(f"<li>{escape(line)}</li>" for line in lines) + "\n</ul>"


def _image(path: Path, text: str) -> str:
    data = b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'
