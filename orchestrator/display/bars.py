"""Progress bars: a line that a terminal redraws, or an output of a notebook's cell that the kernel updates."""

import html
import logging
import time
import warnings
from collections.abc import Callable
from typing import Any, Protocol, final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from orchestrator.formatting import format_seconds

#: minimum seconds between two updates of a notebook's output, because each update is a message to the browser
_MIN_INTERVAL_S = 0.1


class ProgressBar(Protocol):
    """Shows how many steps of some work are done."""

    def update(self, completed: int, state: str) -> None:
        """Show the number of completed steps, and a text next to the bar."""

    def stop(self) -> None:
        """Leave the bar in its last state."""


def progress_console() -> Console:
    """Return the console of progress: standard error.

    In a notebook, also switch off the messages in which Ray and tqdm ask the user to install `ipywidgets`. The
    notebook's bar does not need this package.
    """
    console = Console(stderr=True)
    if console.is_jupyter:
        logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", "IProgress not found")
    return console


def start_bar(
    console: Console, name: str, total: int, completed: int, state: str, *, shows_time_left: bool
) -> ProgressBar | None:
    """Start a bar of `total` steps in the notebook or on the terminal of `console`; None if it is neither.

    The bar ends with the time left, or with the elapsed time.
    """
    if console.is_jupyter:
        return NotebookBar(name, total, completed, state, shows_time_left=shows_time_left)
    if console.is_terminal:
        return TerminalBar(console, name, total, completed, state, shows_time_left=shows_time_left)
    return None


def print_line(console: Console, text: str) -> None:
    """Print a line of text above the bar of the terminal, or as output of the notebook's cell."""
    if console.is_jupyter:
        print(text)  # rich would make an HTML element of its own for each line
    else:
        console.print(text, markup=False, highlight=False, soft_wrap=True)


@final
class TerminalBar:
    """A bar that rich redraws on a terminal; see ProgressBar."""

    def __init__(
        self, console: Console, name: str, total: int, completed: int, state: str, *, shows_time_left: bool
    ) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[state]}"),
            TimeRemainingColumn() if shows_time_left else TimeElapsedColumn(),
            console=console,
        )
        self._task = self._bar.add_task(name, total=total, completed=completed, state=state)
        self._bar.start()

    def update(self, completed: int, state: str) -> None:
        """See ProgressBar."""
        self._bar.update(self._task, completed=completed, state=state)

    def stop(self) -> None:
        """See ProgressBar."""
        self._bar.stop()


@final
class NotebookBar:
    """A bar in HTML, which needs no widget extension and stays in the saved notebook; see ProgressBar."""

    def __init__(
        self,
        name: str,
        total: int,
        completed: int,
        state: str,
        *,
        shows_time_left: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`clock` gives seconds."""
        from IPython.display import display

        self._name, self._total, self._first = name, total, completed
        self._completed, self._state = completed, state
        self._shows_time_left, self._clock = shows_time_left, clock
        self._started_s = self._shown_s = clock()
        self._handle = display(self._content(), raw=True, display_id=True)

    def update(self, completed: int, state: str) -> None:
        """See ProgressBar."""
        self._completed, self._state = completed, state
        if self._clock() - self._shown_s >= _MIN_INTERVAL_S:
            self._show()

    def stop(self) -> None:
        """See ProgressBar."""
        self._show()

    def _show(self) -> None:
        self._shown_s = self._clock()
        self._handle.update(self._content(), raw=True)

    def _content(self) -> dict[str, Any]:
        """Return the bar for browsers, and as text for other viewers."""
        parts = [f"{self._completed}/{self._total}", self._state, self._time()]
        text = "  ".join(part for part in parts if part)
        bar = f'<progress value="{self._completed}" max="{self._total}" style="width: 14em"></progress>'
        return {
            "text/plain": f"{self._name}: {text}",
            "text/html": f"<code>{html.escape(self._name)}</code> {bar} {html.escape(text)}",
        }

    def _time(self) -> str:
        """Return the time left, or the elapsed time; nothing while both are meaningless."""
        elapsed_s, num_steps = self._clock() - self._started_s, self._completed - self._first
        if not self._shows_time_left or self._completed == self._total:
            return format_seconds(elapsed_s) if elapsed_s >= _MIN_INTERVAL_S else ""
        if not num_steps:
            return ""
        return f"{format_seconds(elapsed_s / num_steps * (self._total - self._completed))} left"
