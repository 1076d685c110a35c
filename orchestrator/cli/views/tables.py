"""The plain table that the inspecting commands print."""

from rich.table import Table


def plain_table(*columns: str) -> Table:
    """A table without borders; long cells wrap within their column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
