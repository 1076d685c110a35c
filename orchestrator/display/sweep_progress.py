"""What a sweep shows on the terminal while it goes on."""

import time
from collections.abc import Callable
from typing import final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from orchestrator.display.run_progress import LineThrottle
from orchestrator.formatting import format_seconds
from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trials import TrialSpec


@final
class SweepProgress:
    """A bar of trials on a terminal; elsewhere a plain line for each trial that ends, and now and then between.

    `quiet` prints nothing.
    """

    def __init__(
        self,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`console` is where to print (None: standard error)."""
        self._quiet, self._console, self._clock = quiet, console or Console(stderr=True), clock
        self._bar: Progress | None = None
        self._name, self._pace = "", LineThrottle(clock)
        self._num_ended, self._num_trials = 0, 0
        self._rounds: dict[int, int] = {}

    def start(self, name: str, num_trials: int, num_ended: int) -> None:
        """A sweep begins, or goes on after so many trials have ended."""
        self._name, self._num_trials, self._num_ended = name, num_trials, num_ended
        self._pace = LineThrottle(self._clock)
        if self._quiet or not self._console.is_terminal:
            return
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        self._bar = Progress(
            *columns, TextColumn("{task.fields[state]}"), TimeElapsedColumn(), console=self._console
        )
        self._bar.add_task(name, total=num_trials, completed=num_ended, state="starting")
        self._bar.start()

    def update(self, number: int, num_rounds: int) -> None:
        """A trial has done so many rounds."""
        self._rounds[number] = num_rounds
        self._show()

    def end(self, trial: TrialSpec, ending: Ending) -> None:
        """A trial has ended."""
        self._rounds.pop(trial.number, None)
        self._num_ended += 1
        values = "  ".join(f"{name} {value:.4g}" for name, value in ending.objective.items())
        known = f"  {values}" if values else ""
        cause = f": {ending.cause}" if ending.cause else ""
        place = f"trial {self._num_ended}/{self._num_trials}"
        self.note(f"{place}  {trial.name}  {ending.status}{cause}{known}")
        self._pace.printed()
        self._show()

    def lose(self, number: int, cause: str) -> None:
        """A trial has lost its actors, and goes on later."""
        self._rounds.pop(number, None)
        self.note(
            f"trial {number} lost its actors ({cause}); it goes on from its last commit, after those at work"
        )
        self._show()

    def rest(self) -> None:
        """No trial is at work, until one is heard of again."""
        self._rounds.clear()
        self._show()

    def note(self, text: str) -> None:
        """One line worth knowing."""
        if not self._quiet:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def stop(self) -> None:
        """The sweep is over, or interrupted."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        at_work = ", ".join(f"{number}: round {done}" for number, done in sorted(self._rounds.items()))
        if self._bar is not None:
            self._bar.update(self._bar.tasks[0].id, completed=self._num_ended, state=at_work)
        elif self._pace.is_due():
            place = f"{self._name}: {self._num_ended}/{self._num_trials} trials have ended"
            self.note(f"{place}  {format_seconds(self._pace.elapsed_s)}  at work {at_work or 'none'}")
            self._pace.printed()
