"""The progress of a sweep: a bar on a terminal, a line per trial elsewhere, and no output with `quiet`."""

from io import StringIO
from math import inf

import pytest
from rich.console import Console

from orchestrator.display.sweep_progress import SweepProgress
from tests.support.sweeps import ending, trial


def _show_sweep(progress: SweepProgress) -> None:
    """Show a sweep of three trials: one ended before, one finishes, one fails."""
    first, second = trial(1, algorithm__name="feddst", level=0.5), trial(2, algorithm__name="fedavg", seed=3)
    progress.note("sw-1: 3 trials, 2 at a time")
    progress.start("sw-1", 3, 1)
    progress.update(1, 2)
    progress.update(2, 4)
    progress.end(first, ending(first, accuracy=0.123456, upload_bytes=2e6))
    progress.end(second, ending(second, "failed"))
    progress.stop()
    progress.stop()


def _cells(file: StringIO) -> list[list[str]]:
    """The parts of each line; two spaces separate them."""
    return [line.split("  ") for line in file.getvalue().splitlines()]


def test_each_trial_has_a_plain_line_without_a_terminal() -> None:
    file = StringIO()
    _show_sweep(SweepProgress(console=Console(file=file, width=40)))
    assert _cells(file) == [
        ["sw-1: 3 trials, 2 at a time"],
        ["trial 2/3", "feddst level=0.5", "finished", "accuracy 0.1235", "upload_bytes 2e+06"],
        ["trial 3/3", "fedavg seed=3", "failed: RoundError: too few"],
    ]


def test_plain_lines_show_the_running_trials() -> None:
    file, now_s = StringIO(), [0.0]
    progress = SweepProgress(console=Console(file=file, width=40), clock=lambda: now_s[0])
    progress.start("sw-1", 3, 1)
    for seconds, number, num_rounds in ((4.0, 1, 2), (2.0, 2, 3), (4.0, 1, 4), (1.0, 2, 4)):
        now_s[0] += seconds
        progress.update(number, num_rounds)
    assert _cells(file) == [
        ["sw-1: 1/3 trials have ended", "6 s", "running 1: round 2, 2: round 3"],
        ["sw-1: 1/3 trials have ended", "11 s", "running 1: round 4, 2: round 4"],
    ]


def test_clear_running_removes_the_running_trials() -> None:
    file, now_s = StringIO(), [0.0]
    progress = SweepProgress(console=Console(file=file, width=40), clock=lambda: now_s[0])
    progress.start("sw-1", 3, 1)
    progress.update(1, 2)
    now_s[0] = 10.0
    progress.clear_running()
    now_s[0] = 20.0
    progress.update(2, 3)
    assert [line[1:] for line in _cells(file)] == [["10 s", "running none"], ["20 s", "running 2: round 3"]]


def test_line_is_not_interpreted_as_markup() -> None:
    file = StringIO()
    progress = SweepProgress(console=Console(file=file, width=40))
    spec = trial(0, model__name="[bold]x[/bold]")
    progress.end(spec, ending(spec, time_to_accuracy_s=inf))
    assert _cells(file) == [["trial 1/0", "name=[bold]x[/bold]", "finished", "time_to_accuracy_s inf"]]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_quiet_prints_nothing(is_terminal: bool) -> None:
    file = StringIO()
    _show_sweep(SweepProgress(quiet=True, console=Console(file=file, force_terminal=is_terminal)))
    assert file.getvalue() == ""


def test_bar_shows_the_running_trials() -> None:
    file = StringIO()
    progress = SweepProgress(
        console=Console(file=file, force_terminal=True, width=200, force_interactive=False)
    )
    progress.start("sw-1", 3, 1)
    progress.update(7, 4)
    progress.update(2, 3)
    progress.stop()
    shown = file.getvalue()
    assert "sw-1" in shown
    assert "1/3" in shown
    assert "2: round 3, 7: round 4" in shown
