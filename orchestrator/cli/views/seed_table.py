"""The table of runs that differ in their seed only, with their means."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from orchestrator.analysis.report.tables import share_text
from orchestrator.analysis.statistics import Spread, spread
from orchestrator.display.run_progress import SummaryColumn, summary_columns

#: columns whose mean has a 95 % interval in points
_SHARES = (
    "accuracy",
    "personal_accuracy",
    "unseen_accuracy",
    "unseen_personal_accuracy",
    "best_accuracy",
    "best_personal_accuracy",
)


def seed_table(runs: Mapping[int, Mapping[str, object]]) -> Table:
    """Build a table with one row per seed, from summaries by seed, and a last row with the means over the seeds.

    Accuracies in the last row are in percent, with half of the 95 % Student-t interval.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("seed")
    columns = summary_columns(runs.values())
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for seed, summary in runs.items():
        table.add_row(str(seed), *(_cell(summary, column) for column in columns))
    table.add_section()
    table.add_row("mean", *(_mean(list(runs.values()), column) for column in columns))
    return table


def _cell(summary: Mapping[str, object], column: SummaryColumn) -> str:
    value = summary.get(column.key)
    return column.form(value) if isinstance(value, int | float) else "-"


def _mean(summaries: Sequence[Mapping[str, object]], column: SummaryColumn) -> str:
    values = [summary.get(column.key) for summary in summaries]
    found: Spread = spread(float(value) if isinstance(value, int | float) else None for value in values)
    if column.key in _SHARES:
        return share_text(found)
    return "-" if found.mean is None else column.form(found.mean)
