"""The progress of a run: plain lines, the bar, and the table of results."""

import io
import re
from itertools import pairwise

import pytest
from rich.console import Console

from orchestrator.display.run_progress import Progress, summary_table
from orchestrator.tracking.record import RoundRecord


def console(terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def text(screen: Console) -> str:
    assert isinstance(screen.file, io.StringIO)
    return screen.file.getvalue()


def cells(screen: Console) -> list[list[str]]:
    """The parts of each line; two spaces separate them."""
    return [line.split("  ") for line in text(screen).splitlines()]


def record(round_idx: int, evaluated: bool = True) -> RoundRecord:
    metrics = {"eval/accuracy": 0.5 + round_idx / 1000, "comm/upload_bytes_total": 1e6 * (round_idx + 1)}
    return RoundRecord(round_idx, 0, metrics if evaluated else {"train/loss": 1.0})


class Clock:
    """A clock that tests advance by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def show(num_rounds: int, *, first_round: int = 0, eval_every: int = 1) -> list[int]:
    """Show a run, and return the rounds (1-based) that have a line."""
    screen = console()
    progress = Progress(console=screen)
    progress.start("run-1", num_rounds, first_round)
    for round_idx in range(first_round, num_rounds):
        last = round_idx == num_rounds - 1
        progress.update(record(round_idx, (round_idx + 1) % eval_every == 0 or last))
    progress.stop()
    return [int(line.split("round ")[1].split("/")[0]) for line in text(screen).splitlines()[1:]]


def test_plain_line_has_round_accuracy_bytes_and_time() -> None:
    screen, clock = console(), Clock()
    progress = Progress(console=screen, clock=clock)
    progress.note("[pool] 4 actors")
    progress.start("run-1", 3, 0)
    clock.now_s += 2.5
    progress.update(record(0))
    progress.update(record(1, evaluated=False))
    clock.now_s += 0.5
    progress.update(record(2))
    assert cells(screen) == [
        ["[pool] 4 actors"],
        ["run-1: 3 rounds"],
        ["run-1: round 1/3", "accuracy 50.00%", "up 1 MB", "2.5 s", "5 s left"],
        ["run-1: round 3/3", "accuracy 50.20%", "up 3 MB", "3 s"],
    ]


def test_resumed_run_estimates_the_time_from_its_own_rounds() -> None:
    screen, clock = console(), Clock()
    progress = Progress(console=screen, clock=clock)
    progress.start("run-1", 100, 90)
    clock.now_s += 30
    progress.update(record(91))
    assert cells(screen) == [
        ["run-1: 100 rounds, 90 of them finished"],
        ["run-1: round 92/100", "accuracy 59.10%", "up 92 MB", "30 s", "2:00 left"],
    ]


def test_slow_rounds_without_evaluation_have_a_line() -> None:
    """Each line has the last known accuracy."""
    screen, clock = console(), Clock()
    progress = Progress(console=screen, clock=clock)
    progress.start("run-1", 1000, 0)
    for round_idx, seconds in enumerate((1.0, 4.9, 5.0, 4.9)):
        clock.now_s += seconds
        progress.update(record(round_idx, evaluated=round_idx == 0))
    lines = text(screen).splitlines()[1:]
    assert [line.split("  ")[:3] for line in lines] == [
        ["run-1: round 1/1000", "accuracy 50.00%", "up 1 MB"],
        ["run-1: round 3/1000", "accuracy 50.00%", "up 1 MB"],
    ]


def test_long_runs_print_fewer_lines_over_time() -> None:
    """Ten hours with rounds of one second: each line comes after 2 % of the elapsed time, but not before 5 s."""
    screen, clock = console(), Clock()
    progress = Progress(console=screen, clock=clock)
    progress.start("run-1", 36_000, 0)
    for round_idx in range(36_000):
        clock.now_s += 1.0
        progress.update(record(round_idx, evaluated=False))
    lines = text(screen).splitlines()[1:]
    assert 200 < len(lines) < 400
    assert lines[-1].startswith("run-1: round 36000/36000  10:00:00")


def test_short_runs_print_every_evaluated_round() -> None:
    assert show(20) == list(range(1, 21))
    assert show(20, eval_every=5) == [5, 10, 15, 20]
    assert show(7, eval_every=5) == [5, 7]


@pytest.mark.parametrize(("num_rounds", "eval_every"), [(21, 1), (100, 1), (1000, 1), (1000, 7), (999, 1)])
def test_long_runs_print_about_twenty_even_lines_and_the_last(num_rounds: int, eval_every: int) -> None:
    shown = show(num_rounds, eval_every=eval_every)
    assert 10 <= len(shown) <= 21
    assert shown[-1] == num_rounds
    gaps = [later - earlier for earlier, later in pairwise(shown)]
    assert max(gaps) <= num_rounds / 20 + 1 + eval_every


def test_resumed_run_prints_lines_from_its_first_round() -> None:
    assert show(100, first_round=98) == [99, 100]


def test_quiet_prints_nothing() -> None:
    for screen in (console(), console(terminal=True)):
        progress = Progress(quiet=True, console=screen)
        progress.start("run-1", 2, 0)
        progress.update(record(0))
        progress.note("a note")
        progress.stop()
        assert text(screen) == ""


def test_bar_shows_the_last_evaluation() -> None:
    screen = console(terminal=True)
    progress = Progress(console=screen)
    progress.start("run-1", 4, 1)
    progress.update(record(1))
    progress.update(record(2, evaluated=False))
    progress.note("a note")
    progress.stop()
    last = [line for line in text(screen).splitlines() if "run-1" in line][-1]
    for part in ("run-1", "3/4", "accuracy 50.10%", "up 2 MB"):
        assert part in last
    assert "a note" in text(screen)
    progress.stop()


def test_table_has_a_row_per_run_and_dashes_for_missing_values() -> None:
    screen = console()
    full = {
        "run_id": "run-1",
        "algorithm": "fedavg",
        "accuracy": 0.91234,
        "personal_accuracy": 0.5,
        "upload_bytes_total": 12_345_678,
        "download_bytes_total": 999,
        "train_flops_total": 1.2e12,
        "emulated_s_total": 3675.0,
        "wall_s_total": 0.25,
    }
    screen.print(summary_table([full, {"algorithm": "feddst", "accuracy": None}]))
    heading, first, second = text(screen).splitlines()
    assert heading.split()[:4] == ["method", "accuracy", "personal", "upload"]
    cells = ("fedavg", "91.23%", "50.00%", "12.3 MB", "999 B", "1.2 TFLOP", "1:01:15", "0.25 s")
    assert re.fullmatch(" +".join(map(re.escape, cells)), first)
    assert second.split() == ["feddst", *["-"] * 7]


@pytest.mark.parametrize("width", [80, 120])
def test_table_fits_the_terminal(width: int) -> None:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(summary_table([{"algorithm": "/somewhere/a_long_name.py:Method", "wall_s_total": 59.94}]))
    lines = text(screen).splitlines()
    assert "59.9 s" in lines[1]
    assert max(map(len, lines)) <= width
