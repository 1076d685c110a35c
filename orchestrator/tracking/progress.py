"""What a run shows on the terminal while it goes on, and the table at its end."""

from collections.abc import Mapping, Sequence
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from orchestrator.tracking.record import RoundRecord
from orchestrator.tracking.units import format_bytes, format_flops, format_seconds

_MAX_LINES = 20


@final
class Progress:
    """A progress bar on a terminal; elsewhere some twenty plain lines a run, the last round among them.

    Rounds without an evaluation move the bar and print no line. Call `start`, then `update` and `note` in
    any number, then `stop`; then it may be started again.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        """`quiet` prints nothing at all; `console` is where to print (None: standard error)."""
        self._quiet = quiet
        self._console = console or Console(stderr=True)
        self._bar: Bar | None = None
        self._name, self._num_rounds, self._next_line = "", 0, 0

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """A run of `num_rounds` rounds in all begins at `first_round` (0-based; above 0 when resumed)."""
        self._name, self._num_rounds, self._next_line = name, num_rounds, first_round
        if self._quiet or not self._console.is_terminal:
            return
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._bar.add_task(name, total=num_rounds, completed=first_round, state="")
        self._bar.start()

    def update(self, record: RoundRecord) -> None:
        """A round is committed."""
        if self._quiet:
            return
        num_done = record.round_idx + 1
        if self._bar is not None:
            task = self._bar.tasks[0]
            state = _state(record.metrics) if _evaluated(record.metrics) else task.fields["state"]
            self._bar.update(task.id, completed=num_done, state=state)
        elif _evaluated(record.metrics) and (
            record.round_idx >= self._next_line or num_done == self._num_rounds
        ):
            self._print(f"{self._name}: round {num_done}/{self._num_rounds}  {_state(record.metrics)}")
            step = -(-self._num_rounds // _MAX_LINES)
            self._next_line = (record.round_idx // step + 1) * step

    def note(self, text: str) -> None:
        """A line of text, above the bar."""
        if not self._quiet:
            self._print(text)

    def stop(self) -> None:
        """The run is over, or interrupted; does nothing when there is no bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def summary_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """One row a run, from summaries (`algorithm`, `accuracy`, ...); what a row lacks is a dash."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold", min_width=6)
    for heading, *_ in _COLUMNS:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row.get("algorithm", "-"))]
        for _, key, formatter in _COLUMNS:
            value = row.get(key)
            cells.append(formatter(value) if isinstance(value, (int, float)) else "-")
        table.add_row(*cells)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


_COLUMNS = (
    ("accuracy", "accuracy", _percent),
    ("personal", "personal_accuracy", _percent),
    ("upload", "upload_bytes_total", format_bytes),
    ("download", "download_bytes_total", format_bytes),
    ("training", "train_flops_total", format_flops),
    ("emulated", "emulated_s_total", format_seconds),
    ("wall", "wall_s_total", format_seconds),
)


def _evaluated(metrics: Mapping[str, float]) -> bool:
    return "eval/accuracy" in metrics


def _state(metrics: Mapping[str, float]) -> str:
    parts = [f"accuracy {_percent(metrics['eval/accuracy'])}"]
    if "comm/upload_bytes_total" in metrics:
        parts.append(f"up {format_bytes(metrics['comm/upload_bytes_total'])}")
    return "  ".join(parts)
