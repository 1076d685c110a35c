"""Shows the progress of a sweep on the terminal."""

import time
from collections.abc import Callable
from typing import final

from rich.console import Console

from orchestrator.display.bars import ProgressBar, print_line, progress_console, start_bar
from orchestrator.display.run_progress import LineThrottle
from orchestrator.formatting import format_seconds
from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trial_specs import TrialSpec


@final
class SweepProgress:
    """Shows a sweep as a progress bar of trials on a terminal or in a notebook, and as plain lines elsewhere.

    A plain line appears when a trial ends, and after long silences.
    """

    def __init__(
        self,
        quiet: bool = False,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`quiet` prints nothing. `console` gets the output (None: standard error)."""
        self._quiet, self._console, self._clock = quiet, console or progress_console(), clock
        self._bar: ProgressBar | None = None
        self._name, self._throttle = "", LineThrottle(clock)
        self._num_ended, self._num_trials = 0, 0
        self._rounds: dict[int, int] = {}

    def start(self, name: str, num_trials: int, num_ended: int) -> None:
        """Start showing a sweep in which `num_ended` trials have already ended."""
        self._name, self._num_trials, self._num_ended = name, num_trials, num_ended
        self._throttle = LineThrottle(self._clock)
        if not self._quiet:
            self._bar = start_bar(
                self._console, name, num_trials, num_ended, "starting", shows_time_left=False
            )

    def update(self, number: int, num_rounds: int) -> None:
        """Show that a trial has finished `num_rounds` rounds."""
        self._rounds[number] = num_rounds
        self._show()

    def end(self, trial: TrialSpec, ending: Ending) -> None:
        """Show that a trial has ended."""
        self._rounds.pop(trial.number, None)
        self._num_ended += 1
        values = "  ".join(f"{name} {value:.4g}" for name, value in ending.objective.items())
        objective = f"  {values}" if values else ""
        cause = f": {ending.cause}" if ending.cause else ""
        position = f"trial {self._num_ended}/{self._num_trials}"
        self.note(f"{position}  {trial.name}  {ending.status}{cause}{objective}")
        self._throttle.printed()
        self._show()

    def lose_actors(self, number: int, cause: str) -> None:
        """Show that a trial has lost its actors and will resume later."""
        self._rounds.pop(number, None)
        self.note(
            f"trial {number} lost its actors ({cause}); it will resume from its checkpoint after the running trials"
        )
        self._show()

    def clear_running(self) -> None:
        """Show that no trial is running, until the next `update`."""
        self._rounds.clear()
        self._show()

    def note(self, text: str) -> None:
        """Print a line of text above the bar."""
        if not self._quiet:
            print_line(self._console, text)

    def stop(self) -> None:
        """Stop the bar at the end of the sweep; does nothing when no bar is shown."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _show(self) -> None:
        running = ", ".join(f"{number}: round {done}" for number, done in sorted(self._rounds.items()))
        if self._bar is not None:
            self._bar.update(self._num_ended, running)
        elif self._throttle.is_due():
            ended = f"{self._name}: {self._num_ended}/{self._num_trials} trials have ended"
            self.note(f"{ended}  {format_seconds(self._throttle.elapsed_s)}  running {running or 'none'}")
            self._throttle.printed()
