"""Shows a retimed run: a table for the terminal and a CSV file."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, fields
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.errors import RequestError
from orchestrator.formatting import counted, format_seconds
from orchestrator.retiming.retime import RetimedRound, RetimedRun

_MAX_ROWS = 20


def print_report(console: Console, run: RetimedRun) -> None:
    """Print at most twenty rounds, including the first and the last, and the total time on both fleets."""
    shown, last = _shown_rounds(run.rounds), run.rounds[-1]
    console.print(_table(run, shown))
    lines = [
        "",
        f"{run.run_id}: {format_seconds(last.emulated_s_total)} on {run.fleet}, "
        f"{format_seconds(last.retimed_s_total)} on {run.other_fleet} (factor {run.ratio:.3g}).",
    ]
    if run.availability_limit is not None:
        lines.append(
            f"The times assume that all devices of {run.other_fleet} are always available, "
            f"but {run.availability_limit}."
        )
    if len(shown) < len(run.rounds):
        lines.append(
            f"The table shows {len(shown)} of {counted(len(run.rounds), 'round')}; --out FILE.csv writes all rounds."
        )
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def write_csv(run: RetimedRun, path: Path) -> None:
    """Write `csv_text` to a file. Raises RequestError when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(csv_text(run))
    except OSError as error:
        problem = f"the file cannot be written ({error.strerror})"
        raise RequestError("--out", path, problem, "name another file") from error


def csv_text(run: RetimedRun) -> str:
    """Return one row per round, with the field names of RetimedRound as headings; a missing accuracy is empty."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(RetimedRound))
    writer.writerows(map(astuple, run.rounds))
    return text.getvalue()


def _table(run: RetimedRun, rounds: Sequence[RetimedRound]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    here, there = f"on {run.fleet}", f"on {run.other_fleet}"
    for heading in ("round_idx", "accuracy", "personal", here, "total", there, "total"):
        table.add_column(heading, justify="right", overflow="fold")
    for row in rounds:
        times_s = (row.emulated_s, row.emulated_s_total, row.retimed_s, row.retimed_s_total)
        accuracies = (row.accuracy, row.personal_accuracy)
        table.add_row(
            str(row.round_idx),
            *("-" if accuracy is None else f"{100 * accuracy:.2f}%" for accuracy in accuracies),
            *map(format_seconds, times_s),
        )
    return table


def _shown_rounds(rounds: Sequence[RetimedRound]) -> list[RetimedRound]:
    """All rounds of a short run, else evenly spaced rounds from the first to the last."""
    count, last = min(len(rounds), _MAX_ROWS), len(rounds) - 1
    return [rounds[i * last // max(1, count - 1)] for i in range(count)]
