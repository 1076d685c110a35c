"""What a run shows on the terminal while it goes on, and the table at its end."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from orchestrator.formatting import format_bytes, format_flops, format_seconds
from orchestrator.tracking.record import RoundRecord

_MAX_LINES = 20
#: off a terminal, rounds that take longer than this each have a line, seconds
_QUIET_S = 5.0
#: a long run's lines come ever more rarely: after this share of the time that it has taken
_QUIET_SHARE = 0.02


@final
class LineThrottle:
    """When the next plain line is due: after some seconds, and ever later in what takes long."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = self._last_s = clock()

    @property
    def elapsed_s(self) -> float:
        """Since it began."""
        return self._clock() - self._started_s

    def is_due(self) -> bool:
        """Whether nothing was printed for long enough."""
        return self._clock() - self._last_s >= max(_QUIET_S, _QUIET_SHARE * self.elapsed_s)

    def printed(self) -> None:
        """A line was printed now."""
        self._last_s = self._clock()


@final
class Progress:
    """A progress bar on a terminal; elsewhere plain lines: at the start, then now and then, and for the last round.

    Off a terminal some twenty evaluated rounds have a line, and others where nothing was said for a while. Call
    `start`, then `update` and `note` in any number, then `stop`; then it may be started again.
    """

    def __init__(
        self,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`quiet` prints nothing at all; `console` is where to print (None: standard error)."""
        self._quiet, self._clock = quiet, clock
        self._console = console or Console(stderr=True)
        self._bar: Bar | None = None
        self._name, self._num_rounds, self._first_round, self._next_line = "", 0, 0, 0
        self._pace, self._state = LineThrottle(clock), ""

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """A run of `num_rounds` rounds in all begins at `first_round` (0-based; above 0 when resumed)."""
        self._name, self._num_rounds, self._first_round = name, num_rounds, first_round
        self._next_line, self._pace, self._state = first_round, LineThrottle(self._clock), ""
        if self._quiet:
            return
        if not self._console.is_terminal:
            done = f", {first_round} of them done" if first_round else ""
            self._print(f"{name}: {num_rounds} rounds{done}")
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
        evaluated = "eval/accuracy" in record.metrics
        self._state = _state(record.metrics) if evaluated else self._state
        if self._bar is not None:
            self._bar.update(self._bar.tasks[0].id, completed=num_done, state=self._state)
            return
        in_turn = evaluated and record.round_idx >= self._next_line
        if in_turn or num_done == self._num_rounds or self._pace.is_due():
            self._print_line(num_done)
        if in_turn:
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

    def _print_line(self, num_done: int) -> None:
        elapsed_s = self._pace.elapsed_s
        left_s = elapsed_s / max(1, num_done - self._first_round) * (self._num_rounds - num_done)
        parts = [f"{self._name}: round {num_done}/{self._num_rounds}", self._state, format_seconds(elapsed_s)]
        if num_done < self._num_rounds:
            parts.append(f"{format_seconds(left_s)} left")
        self._print("  ".join(part for part in parts if part))
        self._pace.printed()

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


def _state(metrics: Mapping[str, float]) -> str:
    parts = [f"accuracy {_percent(metrics['eval/accuracy'])}"]
    if "comm/upload_bytes_total" in metrics:
        parts.append(f"up {format_bytes(metrics['comm/upload_bytes_total'])}")
    return "  ".join(parts)
