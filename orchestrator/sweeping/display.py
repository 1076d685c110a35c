"""What a sweep needs from the display that shows its progress."""

from typing import Protocol

from orchestrator.sweeping.store import Ending
from orchestrator.sweeping.trial_specs import TrialSpec


class SweepDisplay(Protocol):
    """Shows the progress of a sweep to the user."""

    def start(self, name: str, num_trials: int, num_ended: int) -> None:
        """Show a sweep in which `num_ended` trials have already ended."""

    def update(self, number: int, num_rounds: int) -> None:
        """Show that a trial has finished `num_rounds` rounds."""

    def end(self, trial: TrialSpec, ending: Ending) -> None:
        """Show that a trial has ended."""

    def lose_actors(self, number: int, cause: str) -> None:
        """Show that a trial has lost its actors and will resume later."""

    def clear_running(self) -> None:
        """Show that no trial is running, until the next `update`."""

    def note(self, text: str) -> None:
        """Show one line of text."""

    def stop(self) -> None:
        """Show that the sweep has ended."""
