"""A retimed run as a table on the terminal and as a CSV file."""

import csv
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from rich.console import Console
from rich.table import Table

from orchestrator.errors import RequestError
from orchestrator.formatting import format_seconds
from orchestrator.retiming.retime import RetimedRound, Retiming

_MAX_ROWS = 20


def print_report(console: Console, retiming: Retiming) -> None:
    """Print some twenty rounds, the first and the last among them, and what the run comes to on both fleets."""
    shown, last = _some(retiming.rounds), retiming.rounds[-1]
    console.print(_table(retiming, shown))
    lines = [
        "",
        f"{retiming.run_id}: {format_seconds(last.emulated_s_total)} on {retiming.fleet}, "
        f"{format_seconds(last.retimed_s_total)} on {retiming.other}, {retiming.ratio:.3g} times as long.",
    ]
    if retiming.although is not None:
        lines.append(
            f"Devices of {retiming.other} are taken to be there for every task, although {retiming.although}."
        )
    if len(shown) < len(retiming.rounds):
        lines.append(f"{len(shown)} of {len(retiming.rounds)} rounds are shown; --out FILE.csv has all.")
    console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)


def write_csv(retiming: Retiming, path: Path) -> None:
    """A row per round, with the names of RetimedRound's fields as headings; what was not measured is empty.

    Raises RequestError for a place where there can be no such file.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(field.name for field in fields(RetimedRound))
            writer.writerows(map(astuple, retiming.rounds))
    except OSError as error:
        problem = f"it cannot be written ({error.strerror})"
        raise RequestError("--out", path, problem, "name a file that can") from error


def _table(retiming: Retiming, rounds: Sequence[RetimedRound]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    own, other = f"on {retiming.fleet}", f"on {retiming.other}"
    for heading in ("round_idx", "accuracy", "personal", own, "so far", other, "so far"):
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


def _some(rounds: Sequence[RetimedRound]) -> list[RetimedRound]:
    """All of a short run, else evenly spaced ones from the first to the last."""
    count, last = min(len(rounds), _MAX_ROWS), len(rounds) - 1
    return [rounds[i * last // max(1, count - 1)] for i in range(count)]
