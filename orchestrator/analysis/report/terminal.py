"""Prints a comparison on the terminal."""

from typing import TYPE_CHECKING, final

from rich.table import Table
from rich.text import Text

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.report.tables import TextTable, cap_table, main_table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

#: on terminals with fewer columns, gaps are smaller, and intervals wrap below their means
_NARROW_BELOW = 96
_LABEL_WIDTH = 8


def terminal_tables(comparison: Comparison) -> "RenderableType":
    """Return the main table, the table of caps and targets, and the notes, for a rich console."""
    return _Tables(comparison)


@final
class _Tables:
    """The tables of a comparison, laid out for the width of the console that prints them."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Yield the tables and notes (the protocol of rich)."""
        is_narrow = options.max_width < _NARROW_BELOW
        for table in (main_table(self._comparison), cap_table(self._comparison)):
            yield _lay_out(table, is_narrow=is_narrow)
            yield Text(f"\n{table.caption}\n", style="dim")
        for note in self._comparison.notes:
            yield Text(f"Note: {note}")


def _lay_out(table: TextTable, *, is_narrow: bool) -> Table:
    """Lay out a table: labels fold first; if the table is still too wide, cells break at spaces."""
    gap = 1 if is_narrow else 2
    rich_table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    rich_table.add_column(table.headings[0], overflow="fold", min_width=_LABEL_WIDTH)
    for heading in table.headings[1:]:
        rich_table.add_column(heading, justify="right", overflow="fold", min_width=1)
    for row in table.rows:
        rich_table.add_row(*(Text(cell.replace("±", " ±") if is_narrow else cell) for cell in row))
    return rich_table
