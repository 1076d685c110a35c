"""The plain table of the inspecting commands."""

import io

from rich.console import Console

from orchestrator.cli.views.tables import plain_table


def test_long_cells_wrap_within_their_column() -> None:
    """30 characters in a console 24 wide: the name takes 4, the gap 2, and 18 remain for the value."""
    table = plain_table("name", "value")
    table.add_row("a", "0123456789" * 3)
    file = io.StringIO()
    Console(file=file, width=24).print(table)
    heading, *rows = (line.rstrip() for line in file.getvalue().splitlines())
    assert heading.split() == ["name", "value"]
    assert "".join(row[-18:].strip() for row in rows).removeprefix("a").strip() == "0123456789" * 3
    assert all(len(row) <= 24 for row in rows)
