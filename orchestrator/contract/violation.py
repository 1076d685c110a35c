"""A broken promise is an AssertionError, raised also where `python -O` leaves assert statements out."""

from typing import Any

from orchestrator.federation.update import ClientFailure, ClientScore, ClientUpdate, Outcome


def hold(kept: bool, message: str) -> None:
    """Raises AssertionError with the message for a promise that is not kept."""
    if not kept:
        raise AssertionError(message)


def updated(outcome: Outcome[Any]) -> ClientUpdate[Any]:
    """The update that a task came back as. Raises AssertionError for another outcome."""
    if not isinstance(outcome, ClientUpdate):
        raise _unexpected(outcome)
    return outcome


def scored(outcome: Outcome[Any]) -> ClientScore:
    """The score that a task came back as. Raises AssertionError for another outcome."""
    if not isinstance(outcome, ClientScore):
        raise _unexpected(outcome)
    return outcome


def _unexpected(outcome: Outcome[Any]) -> AssertionError:
    """The error that says so; a failed client's traceback is its note."""
    error = AssertionError(str(outcome))
    if isinstance(outcome, ClientFailure):
        error.add_note(outcome.traceback)
    return error
