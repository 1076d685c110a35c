"""Shows a run on the terminal: its progress, and the table of results at its end."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, final

from rich.console import Console
from rich.table import Table

from orchestrator.display.bars import ProgressBar, print_line, progress_console, start_bar
from orchestrator.formatting import counted, format_bytes, format_flops, format_seconds
from orchestrator.tracking.record import RoundRecord

_MAX_LINES = 20
#: minimum seconds between two lines when the output is not a terminal
_MIN_INTERVAL_S = 5.0
#: minimum interval between two lines as a share of the elapsed time, so that long runs print fewer lines
_MIN_INTERVAL_SHARE = 0.02


@final
class LineThrottle:
    """Decides when the next plain line is due; the interval grows with the elapsed time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started_s = self._last_s = clock()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the throttle was created."""
        return self._clock() - self._started_s

    def is_due(self) -> bool:
        """Whether the last line is old enough for the next line."""
        return self._clock() - self._last_s >= max(_MIN_INTERVAL_S, _MIN_INTERVAL_SHARE * self.elapsed_s)

    def printed(self) -> None:
        """Note that a line was printed now."""
        self._last_s = self._clock()


@final
class Progress:
    """Shows a run as a progress bar on a terminal or in a notebook, and as plain lines elsewhere.

    Plain lines appear at the start, for about twenty evaluated rounds, for the last round, and after long silences.
    Call `start`, then `update` and `note` any number of times, then `stop`. The same object may show another run.
    """

    def __init__(
        self,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`quiet` prints nothing. `console` gets the output (None: standard error)."""
        self._quiet, self._clock = quiet, clock
        self._console = console or progress_console()
        self._bar: ProgressBar | None = None
        self._name, self._num_rounds, self._first_round, self._next_line = "", 0, 0, 0
        self._throttle, self._state = LineThrottle(clock), ""

    def start(self, name: str, num_rounds: int, first_round: int) -> None:
        """Start showing a run of `num_rounds` rounds at `first_round` (0-based; above 0 for a resumed run)."""
        self._name, self._num_rounds, self._first_round = name, num_rounds, first_round
        self._next_line, self._throttle, self._state = first_round, LineThrottle(self._clock), ""
        if self._quiet:
            return
        self._bar = start_bar(self._console, name, num_rounds, first_round, "", shows_time_left=True)
        if self._bar is None:
            done = f", {first_round} of them finished" if first_round else ""
            self.note(f"{name}: {counted(num_rounds, 'round')}{done}")

    def update(self, record: RoundRecord) -> None:
        """Show a committed round."""
        if self._quiet:
            return
        num_done = record.round_idx + 1
        evaluated = "eval/accuracy" in record.metrics
        self._state = _state(record.metrics) if evaluated else self._state
        if self._bar is not None:
            self._bar.update(num_done, self._state)
            return
        is_listed = evaluated and record.round_idx >= self._next_line
        if is_listed or num_done == self._num_rounds or self._throttle.is_due():
            self._print_line(num_done)
        if is_listed:
            step = -(-self._num_rounds // _MAX_LINES)
            self._next_line = (record.round_idx // step + 1) * step

    def note(self, text: str) -> None:
        """Print a line of text above the bar."""
        if not self._quiet:
            print_line(self._console, text)

    def stop(self) -> None:
        """Stop the bar at the end of the run; does nothing when no bar is shown."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _print_line(self, num_done: int) -> None:
        elapsed_s = self._throttle.elapsed_s
        left_s = elapsed_s / max(1, num_done - self._first_round) * (self._num_rounds - num_done)
        parts = [f"{self._name}: round {num_done}/{self._num_rounds}", self._state, format_seconds(elapsed_s)]
        if num_done < self._num_rounds:
            parts.append(f"{format_seconds(left_s)} left")
        self.note("  ".join(part for part in parts if part))
        self._throttle.printed()


def summary_table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Build a table with one row per run, from summaries (`algorithm`, `accuracy`, ...); missing values are dashes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("method", overflow="fold", min_width=6)
    columns = summary_columns(rows)
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        cells = [str(row.get("algorithm", "-"))]
        for _, key, formatter in columns:
            value = row.get(key)
            cells.append(formatter(value) if isinstance(value, (int, float)) else "-")
        table.add_row(*cells)
    return table


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


class SummaryColumn(NamedTuple):
    """A column of a table of summaries; `key` is a field of RunSummary, and `form` shows its value."""

    heading: str
    key: str
    form: Callable[[float], str]


SUMMARY_COLUMNS = (
    SummaryColumn("accuracy", "accuracy", _percent),
    SummaryColumn("personal", "personal_accuracy", _percent),
    SummaryColumn("unseen", "unseen_accuracy", _percent),
    SummaryColumn("unseen personal", "unseen_personal_accuracy", _percent),
    SummaryColumn("best round", "best_accuracy", _percent),
    SummaryColumn("best personal", "best_personal_accuracy", _percent),
    SummaryColumn("upload", "upload_bytes_total", format_bytes),
    SummaryColumn("download", "download_bytes_total", format_bytes),
    SummaryColumn("training", "train_flops_total", format_flops),
    SummaryColumn("emulated", "emulated_s_total", format_seconds),
    SummaryColumn("wall", "wall_s_total", format_seconds),
)


#: fields of RunSummary that most runs do not have
_OPTIONAL = ("unseen_accuracy", "unseen_personal_accuracy", "best_accuracy", "best_personal_accuracy")


def summary_columns(rows: Iterable[Mapping[str, object]]) -> tuple[SummaryColumn, ...]:
    """Return the columns of a table of these summaries, without columns for rare fields that none of them has."""
    present = {key for row in rows for key, value in row.items() if value is not None}
    return tuple(each for each in SUMMARY_COLUMNS if each.key not in _OPTIONAL or each.key in present)


def _state(metrics: Mapping[str, float]) -> str:
    parts = [f"accuracy {_percent(metrics['eval/accuracy'])}"]
    if "comm/upload_bytes_total" in metrics:
        parts.append(f"up {format_bytes(metrics['comm/upload_bytes_total'])}")
    return "  ".join(parts)
