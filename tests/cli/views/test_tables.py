"""The plain table of the inspecting commands."""

import io
import json
from pathlib import Path

from rich.console import Console

from orchestrator.cli.views.tables import PlainTable, json_text


def test_long_cells_wrap_within_their_column() -> None:
    """30 characters in a console 24 wide: the name takes 4, the gap 2, and 18 remain for the value."""
    table = PlainTable("name", "value")
    table.add("a", "0123456789" * 3)
    file = io.StringIO()
    Console(file=file, width=24).print(table)
    heading, *rows = (line.rstrip() for line in file.getvalue().splitlines())
    assert heading.split() == ["name", "value"]
    assert "".join(row[-18:].strip() for row in rows).removeprefix("a").strip() == "0123456789" * 3
    assert all(len(row) <= 24 for row in rows)


def test_rows_are_records_without_markup() -> None:
    table = PlainTable("key", "default", whole=1)
    table.add("a.long.key", "[red]")
    assert table.records == [{"key": "a.long.key", "default": "[red]"}]
    file = io.StringIO()
    Console(file=file, width=20).print(table)
    assert file.getvalue().splitlines()[1].split() == ["a.long.key", "[red]"]


def test_json_has_paths_as_text() -> None:
    assert json.loads(json_text({"path": Path("a"), "n": 1})) == {"path": "a", "n": 1}
