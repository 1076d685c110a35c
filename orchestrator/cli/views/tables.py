"""The plain table that the inspecting commands print, as text or as JSON."""

import json
from typing import Any, final

from rich.table import Table
from rich.text import Text


@final
class PlainTable(Table):
    """A table without borders; long cells wrap within their column. `records` has each row by its headings."""

    def __init__(self, *headings: str, whole: int = 0) -> None:
        """The cells of the first `whole` columns stay in one line."""
        super().__init__(box=None, pad_edge=False, header_style="bold")
        self._headings = headings
        self.records: list[dict[str, str]] = []
        for index, heading in enumerate(headings):
            self.add_column(heading, overflow="fold", no_wrap=index < whole)

    def add(self, *cells: str | Text) -> None:
        """Add a row; a string is shown as it is, without markup."""
        self.records.append(dict(zip(self._headings, map(str, cells), strict=True)))
        self.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))


def json_text(value: Any) -> str:
    """Return JSON with an indentation; paths and other objects become text."""
    return json.dumps(value, indent=2, default=str)
