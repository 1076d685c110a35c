"""Writes a comparison as a self-contained HTML page."""

from html import escape

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.options import METRIC_TITLES
from orchestrator.analysis.report.charts import Chart, curve_charts, pareto_chart
from orchestrator.analysis.report.draw_html import chart_html, plotly_script
from orchestrator.analysis.report.tables import TextTable, cap_table, main_table
from orchestrator.formatting import counted

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1160px;
  margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; }
h2 { font-size: 19px; margin: 36px 0 8px; }
p.lead, p.caption { color: #666; margin: 4px 0 12px; }
p.caption { font-size: 13px; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: tabular-nums; width: 100%; }
th { text-align: right; border-bottom: 2px solid #999; padding: 5px 10px; white-space: nowrap; }
td { text-align: right; border-bottom: 1px solid #e6e6e6; padding: 5px 10px; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; }
tbody tr:hover { background: #f6f8fa; }
ul.notes { background: #fff8e5; border-left: 3px solid #e0a800; margin: 12px 0; padding: 8px 8px 8px 28px;
  font-size: 14px; }
"""


def report_page(comparison: Comparison) -> str:
    """Return the page: overview, notes, tables and interactive charts, without references to other files or sites."""
    metric = METRIC_TITLES[comparison.metric]
    runs = comparison.runs
    seeds = {run.seed for run in runs}
    lead = (
        f"{counted(len(runs), 'run')} of {counted(len(comparison.rows), 'configuration')} "
        f"with {counted(len(seeds), 'seed')}, compared by {metric}."
    )
    charts = {**curve_charts(comparison), "pareto": pareto_chart(comparison)}
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(_title(comparison))}</title>\n<style>{_STYLE}</style>",
            f"<script>{plotly_script()}</script>\n</head>\n<body>",
            f'<h1>{escape(_title(comparison))}</h1>\n<p class="lead">{escape(lead)}</p>',
            _notes_html(comparison.notes),
            "<h2>Results</h2>",
            _table_html(main_table(comparison)),
            "<h2>At upload caps, and to targets</h2>",
            _table_html(cap_table(comparison)),
            *(_section(chart, f"chart-{name}") for name, chart in charts.items()),
            "</body>\n</html>\n",
        ]
    )


def _title(comparison: Comparison) -> str:
    methods = sorted({row.configuration.method for row in comparison.rows})
    shown = ", ".join(methods[:6]) + (f" and {len(methods) - 6} more" if len(methods) > 6 else "")
    return f"Sparsefleet: {shown}"


def _section(chart: Chart, element_id: str) -> str:
    heading = f"<h2>{escape(chart.title[0].upper() + chart.title[1:])}</h2>"
    return (
        f'{heading}\n<p class="caption">{escape(_chart_caption(chart))}</p>\n{chart_html(chart, element_id)}'
    )


def _chart_caption(chart: Chart) -> str:
    if chart.front is None:
        text = (
            "Mean over all seeds, at the rounds that were evaluated for all seeds; shaded: 95 % t interval."
        )
    else:
        text = "Means over seeds; bars: 95 % t interval. The line is the Pareto front."
    return f"{text} {chart.note[0].upper() + chart.note[1:]}." if chart.note else text


def _notes_html(notes: tuple[str, ...]) -> str:
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">\n{items}\n</ul>' if notes else ""


def _table_html(table: TextTable) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    body = "\n".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return (
        f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>\n'
        f'<p class="caption">{escape(table.caption)}</p>'
    )
