"""Writes a comparison as a self-contained HTML page."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.options import METRIC_TITLES
from orchestrator.analysis.report.charts import MIN_SEEDS, Chart, curve_charts, fairness_of, pareto_chart
from orchestrator.analysis.report.commands import commands_html
from orchestrator.analysis.report.draw_svg import chart_svg, fairness_svg, swatch
from orchestrator.analysis.report.page_assets import SCRIPT, STYLE
from orchestrator.analysis.report.styles import Look, looks_of
from orchestrator.analysis.report.tables import TextTable, cap_table, main_table
from orchestrator.formatting import counted

#: most groups of which the page draws one small chart each
_MAX_MULTIPLES = 12
_SMALL_WIDTH, _SMALL_HEIGHT = 420, 260


def report_page(comparison: Comparison) -> str:
    """Return the page: overview, notes, tables, charts and commands, without references to other files or sites."""
    metric = METRIC_TITLES[comparison.metric]
    runs = comparison.runs
    seeds = {run.seed for run in runs}
    lead = (
        f"{counted(len(runs), 'run')} of {counted(len(comparison.rows), 'configuration')} "
        f"with {counted(len(seeds), 'seed')}, compared by {metric}."
    )
    looks = looks_of([row.configuration for row in comparison.rows])
    curves = curve_charts(comparison)
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(_title(comparison))}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f'<h1>{escape(_title(comparison))}</h1>\n<p class="lead">{escape(lead)}</p>',
            _notes_html(comparison.notes),
            _legend(comparison, looks),
            "<h2>Results</h2>",
            '<input type="search" placeholder="Show configurations with these words" aria-label="Filter">',
            _table_html(main_table(comparison), "results"),
            _section(pareto_chart(comparison), "pareto"),
            *(_section(chart, name) for name, chart in curves.items()),
            *_multiples(curves["round"], looks),
            *_fairness(comparison),
            "<h2>At upload caps, and to targets</h2>",
            _table_html(cap_table(comparison), "caps"),
            commands_html(comparison),
            f"<script>{SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def _title(comparison: Comparison) -> str:
    methods = sorted({row.configuration.method for row in comparison.rows})
    shown = ", ".join(methods[:6]) + (f" and {len(methods) - 6} more" if len(methods) > 6 else "")
    return f"Sparsefleet: {shown}"


def _legend(comparison: Comparison, looks: Sequence[Look]) -> str:
    """A button per group and configuration: it highlights when the pointer is on it, and isolates when clicked."""
    labels = [row.configuration.label for row in comparison.rows]
    groups: dict[str, list[int]] = {}
    for rank, look in enumerate(looks):
        groups.setdefault(look.group, []).append(rank)
    parts = []
    for group, ranks in groups.items():
        if len(groups) > 1 and (len(ranks) > 1 or group != labels[ranks[0]]):
            every = " ".join(map(str, ranks))
            style = f'style="color:{looks[ranks[0]].color}"'
            parts.append(f'<button class="group" data-i="{every}" {style}>{escape(group)}</button>')
        parts += [
            f'<button data-i="{rank}">{swatch(looks[rank])}{escape(labels[rank])}</button>' for rank in ranks
        ]
    return f'<nav aria-label="Legend"><div>{"".join(parts)}</div></nav>'


def _section(chart: Chart, name: str) -> str:
    heading = f"<h2>{escape(chart.title[0].upper() + chart.title[1:])}</h2>"
    caption = f'<p class="caption">{escape(_chart_caption(chart))}</p>'
    drawn = chart_svg(chart)
    if chart.log_x:
        linear = chart_svg(replace(chart, log_x=False))
        drawn = (
            '<div class="scale"><button>logarithmic</button> <button>linear</button></div>'
            f'<div class="log">{drawn}</div><div class="linear">{linear}</div>'
        )
    return f'<section id="{name}">{heading}\n{caption}\n{drawn}</section>'


def _multiples(chart: Chart, looks: Sequence[Look]) -> Iterator[str]:
    """Yield a small chart for each group of configurations, with all others in grey."""
    groups = list(dict.fromkeys(look.group for look in looks))
    if not 2 <= len(groups) <= _MAX_MULTIPLES or len(groups) == len(looks):
        return
    parts = []
    for group in groups:
        own = [series for series in chart.series if series.look.group == group]
        grey = [
            replace(series, rank=series.rank + 10_000)
            for series in chart.series
            if series.look.group != group
        ]
        small = replace(chart, title=f"{chart.title}, {group}", series=(*own, *grey))
        svg = chart_svg(small, width=_SMALL_WIDTH, height=_SMALL_HEIGHT, labelled=False)
        color = next(look.color for look in looks if look.group == group)
        parts.append(f'<div><h3 style="color:{color}">{escape(group)}</h3>{svg}</div>')
    yield f'<h2>{escape(chart.title.capitalize())}, by group</h2>\n<div class="multiples">{"".join(parts)}</div>'


def _fairness(comparison: Comparison) -> Iterator[str]:
    if distributions := fairness_of(comparison):
        yield (
            "<h2>Fairness: accuracy over clients</h2>\n"
            '<p class="caption">The model that each client uses, on its own test part, in the last evaluation of all '
            "seeds. Line: 10th to 90th percentile; box: quartiles; bar: median; marker: mean; dot: worst client.</p>\n"
            f"{fairness_svg(distributions)}"
        )


def _chart_caption(chart: Chart) -> str:
    if chart.front is None:
        text = (
            "Mean over all seeds, at the rounds that were evaluated for all seeds; shaded: 95 % t interval of at "
            f"least {MIN_SEEDS} seeds."
        )
    else:
        text = f"Means over seeds; bars: 95 % t interval of at least {MIN_SEEDS} seeds. The line is the Pareto front."
    return f"{text} {chart.note[0].upper() + chart.note[1:]}." if chart.note else text


def _notes_html(notes: tuple[str, ...]) -> str:
    items = "\n".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">\n{items}\n</ul>' if notes else ""


def _table_html(table: TextTable, name: str) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    highest = [
        max((v for v in column if v is not None), default=0.0) for column in zip(*table.values, strict=True)
    ]
    body = "\n".join(
        f'<tr data-i="{rank}">{"".join(map(_cell, row, values, highest))}</tr>'
        for rank, (row, values) in enumerate(zip(table.rows, table.values, strict=True))
    )
    return (
        f'<div class="wide"><table class="sortable" id="{name}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n"
        f'<p class="caption">{escape(table.caption)} Click on a heading to sort.</p>'
    )


def _cell(text: str, value: float | None, highest: float) -> str:
    """A cell that sorts by its value, with a bar that is as long as the value's share of the column's highest."""
    if value is None:
        return f"<td>{escape(text)}</td>"
    if value < 0.0 or highest <= 0.0:
        return f'<td data-v="{value!r}">{escape(text)}</td>'
    return (
        f'<td class="bar" data-v="{value!r}" style="--share:{100 * value / highest:.1f}%">{escape(text)}</td>'
    )
