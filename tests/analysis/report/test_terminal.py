"""The tables of a comparison on the terminal."""

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.analysis import CompareOptions, Comparison, compare, terminal_tables
from orchestrator.analysis.report.tables import main_table
from tests.support.comparisons import comparison_with_baseline
from tests.support.run_folders import (
    records,
    selected,
    write_run,
)


@pytest.fixture
def comparison(tmp_path: Path) -> Comparison:
    return comparison_with_baseline(tmp_path)


@pytest.mark.parametrize("width", [100, 120])
def test_tables_fit_the_width_of_the_terminal(tmp_path: Path, width: int) -> None:
    """Long labels fold; numbers and the mark of the front do not."""
    for idx, lr in enumerate(("0.0123", "0.0456")):
        for seed in range(2):
            name = "a_long_folder/some_method.py:SomeMethod"
            rounds = records(0.2, 0.9 + 0.03 * seed + 0.1 * idx * seed, bytes_a_round=1.23e9 + idx)
            rounds[-1].metrics["personal/accuracy_mean"] = 0.9 + 0.03 * seed
            write_run(tmp_path / f"{idx}-{seed}", f"training.lr={lr}", method=name, seed=seed, rounds=rounds)
    comparison = compare(selected(tmp_path), CompareOptions(baseline="lr=0.0123"), ["[red]a note"])
    screen = Console(file=io.StringIO(), width=width, color_system=None)
    screen.print(terminal_tables(comparison))
    assert isinstance(screen.file, io.StringIO)
    lines = screen.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    row = next(line for line in lines if "baseline" in line)
    cells = ("*", "2", "91.50±19.06", "91.50±19.06", "baseline", "2.46 GB", "400 B", "2 kFLOP", "4 s")
    assert re.search(" +".join(map(re.escape, cells)), row)
    assert any("lr=0.0456" in line for line in lines)
    assert any(line.startswith("Note: [red]a note") for line in lines)


def test_narrow_terminal_wraps_intervals_and_cuts_nothing(comparison: Comparison) -> None:
    screen = Console(file=io.StringIO(), width=80, color_system=None)
    screen.print(terminal_tables(comparison))
    assert isinstance(screen.file, io.StringIO)
    table = screen.file.getvalue().split("Means over")[0]
    assert table.count("*") == 3
    assert max(map(len, table.splitlines())) <= 80
    words = {
        word
        for row in main_table(comparison).rows
        for cell in row
        for word in cell.replace("±", " ±").split()
    }
    assert words <= set(table.split())
