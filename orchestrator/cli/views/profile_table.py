"""What `run --profile` prints: the activities of the driver and of the clients, and the time that each took.

A round's record is part of its checkpoint, so that the time of a checkpoint counts in the next round.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

from orchestrator.cli.views.tables import PlainTable

_DRIVER, _CLIENT = "time/driver_", "time/client_"
#: activity -> row of the table, in the order of a round; see orchestrator/rounds/stopwatch.py
_DRIVER_ROWS = {
    "submit": "sample, encode and submit",
    "wait": "wait for clients",
    "decode": "decode and check updates",
    "fold": "fold",
    "step": "server step",
    "evaluate": "evaluate",
    "checkpoint": "write the checkpoint",
    "other": "other",
}
_CLIENT_ROWS = {
    "decode": "decode",
    "train": "train",
    "score": "score",
    "encode": "encode",
    "idle": "idle, or transport of messages",
}


def profile_table(rounds: Iterable[Mapping[str, float]]) -> Table | None:
    """Return the table for the metrics of a run's rounds; None if `runtime.profile` was not set in any round."""
    profiled = [metrics for metrics in rounds if f"{_DRIVER}wait_s" in metrics]
    if not profiled:
        return None
    table = PlainTable("process", "activity", "time", "share")
    totals: defaultdict[str, float] = defaultdict(float)
    for metrics in profiled:
        for name, value in metrics.items():
            totals[name] += value
    _add_rows(table, "driver", [(row, totals[f"{_DRIVER}{name}_s"]) for name, row in _DRIVER_ROWS.items()])
    _add_rows(table, "clients", [(row, totals[f"{_CLIENT}{name}_s"]) for name, row in _CLIENT_ROWS.items()])
    return table


def _add_rows(table: Table, process: str, rows: Sequence[tuple[str, float]]) -> None:
    whole = sum(seconds for _, seconds in rows)
    for row, seconds in rows:
        if seconds:
            table.add_row(process, row, f"{seconds:.2f} s", f"{seconds / whole:.1%}")
            process = ""
