"""The table of the seeds of one configuration."""

from collections.abc import Mapping
from io import StringIO

import pytest
from rich.console import Console

from orchestrator.cli.views.seed_table import seed_table


def _lines(runs: Mapping[int, Mapping[str, object]]) -> list[list[str]]:
    console = Console(file=StringIO(), width=120)
    console.print(seed_table(runs))
    assert isinstance(console.file, StringIO)
    return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]


def test_last_row_has_the_means_over_the_seeds() -> None:
    """Two values differ from their mean by 0.05, and t(0.975, 1) is 12.7062: the half width is 63.53 points."""
    runs = {
        3: {"accuracy": 0.7, "personal_accuracy": None, "upload_bytes_total": 1000, "emulated_s_total": 2.0},
        4: {"accuracy": 0.8, "personal_accuracy": 0.5, "upload_bytes_total": 3000, "emulated_s_total": 4.0},
    }
    heading, first, second, mean = _lines(runs)
    assert heading[:4] == ["seed", "accuracy", "personal", "upload"]
    assert first == ["3", "70.00%", "-", "1", "kB", "-", "-", "2", "s", "-"]
    assert second == ["4", "80.00%", "50.00%", "3", "kB", "-", "-", "4", "s", "-"]
    assert mean == ["mean", "75.00±63.53", "1", "of", "2", "2", "kB", "-", "-", "3", "s", "-"]


@pytest.mark.parametrize("value", [None, "a text"])
def test_missing_value_is_a_dash(value: object) -> None:
    assert _lines({0: {"accuracy": value}})[1][1] == "-"
