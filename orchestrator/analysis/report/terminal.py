"""A comparison on the terminal."""

from typing import TYPE_CHECKING, final

from rich.table import Table
from rich.text import Text

from orchestrator.analysis.comparison import Comparison
from orchestrator.analysis.report.tables import TextTable, cap_table, main_table

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

#: below this many columns gaps are closer, and intervals stand below their means
_NARROW_BELOW = 96
_LABEL_WIDTH = 8


def terminal_tables(comparison: Comparison) -> "RenderableType":
    """The main table, the one of caps and targets, and the notes, to be printed by a rich console."""
    return _Tables(comparison)


@final
class _Tables:
    """What it looks like depends on the console that prints it."""

    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        """Rich's hook."""
        narrow = options.max_width < _NARROW_BELOW
        for table in (main_table(self._comparison), cap_table(self._comparison)):
            yield _laid_out(table, narrow=narrow)
            yield Text(f"\n{table.caption}\n", style="dim")
        for note in self._comparison.notes:
            yield Text(f"Note: {note}")


def _laid_out(table: TextTable, *, narrow: bool) -> Table:
    """Labels fold first; where that is not enough, cells break at their blanks."""
    gap = 1 if narrow else 2
    laid_out = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    laid_out.add_column(table.headings[0], overflow="fold", min_width=_LABEL_WIDTH)
    for heading in table.headings[1:]:
        laid_out.add_column(heading, justify="right", overflow="fold", min_width=1)
    for row in table.rows:
        laid_out.add_row(*(Text(cell.replace("±", " ±") if narrow else cell) for cell in row))
    return laid_out
