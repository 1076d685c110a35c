"""`run --profile`: the table of activities, summed over the rounds of a run."""

from typing import get_args

from rich.console import Console

from orchestrator.cli.views.profile_table import profile_table
from orchestrator.federation.update import STAGES
from orchestrator.rounds.stopwatch import Activity
from orchestrator.tracking.record import METRICS
from tests.support.command import QUICK, Command

ROUNDS = [
    {"time/wall_s": 9.0, "time/driver_wait_s": 2.0, "time/driver_fold_s": 1.0, "time/client_train_s": 1.5},
    {"time/driver_wait_s": 3.0, "time/driver_fold_s": 2.0, "time/client_idle_s": 0.5},
    {"time/wall_s": 5.0},
]


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_table_has_the_sums_over_profiled_rounds_and_their_shares() -> None:
    """The driver waited 5 of 8 s and folded for 3; the clients trained 1.5 of 2 s."""
    console = Console(width=120, record=True)
    table = profile_table(ROUNDS)
    assert table is not None
    console.print(table)
    _, *rows = _rows(console.export_text())
    assert [(row[-3], row[-1]) for row in rows] == [
        ("5.00", "62.5%"),
        ("3.00", "37.5%"),
        ("1.50", "75.0%"),
        ("0.50", "25.0%"),
    ]
    assert [row[0] for row in rows] == ["driver", "fold", "clients", "idle,"]


def test_every_activity_and_stage_is_described_and_has_a_row() -> None:
    names = {f"time/driver_{activity}_s" for activity in get_args(Activity)}
    names |= {f"time/client_{stage}_s" for stage in (*STAGES, "idle")}
    assert names == {name for name in METRICS if name.startswith(("time/driver_", "time/client_"))}
    table = profile_table([dict.fromkeys(names, 1.0)])
    assert table is not None
    assert table.row_count == len(names)


def test_run_without_profiled_rounds_has_no_table() -> None:
    assert profile_table([{"time/wall_s": 1.0}]) is None


def test_run_and_resume_print_the_table_only_with_the_option(command: Command) -> None:
    plain = command("run", *QUICK)
    assert "server step" not in plain.out
    profiled = command("run", *QUICK, "--profile")
    assert (profiled.code, profiled.err.count("Traceback")) == (0, 0)
    lines = [line for line in profiled.out.splitlines() if "server step" in line]
    assert len(lines) == 1
    assert lines[0].rstrip().endswith("%")
