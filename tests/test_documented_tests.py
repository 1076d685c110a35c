"""The tests that the documentation names exist, and each ending of a run has a test."""

import ast
import re

import pytest

from tests.support.documented_commands import PAGES, ROOT

#: `tests/<path>` or `tests/<path>.py::<function>`
NAMED = sorted({found for page in PAGES for found in re.findall(r"`(tests/[\w./:]+)`", page.read_text())})
FAULTS = (ROOT / "docs" / "faults.md").read_text()


@pytest.mark.parametrize("named", NAMED)
def test_named_test_exists(named: str) -> None:
    path, _, function = named.partition("::")
    assert (ROOT / path).exists()
    if function:
        tree = ast.parse((ROOT / path).read_text())
        assert function in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_each_ending_of_a_run_has_a_test() -> None:
    endings = _first_cells("| how it ends | exit code |")
    assert len(endings) > 10
    assert _first_cells("| how it ends | test |") == endings


def _first_cells(header: str) -> list[str]:
    """Return the first cell of each row of the table that begins with this header."""
    table = FAULTS[FAULTS.index(header) :].split("\n\n")[0]
    return [row.split("|")[1].strip() for row in table.splitlines()[2:]]
