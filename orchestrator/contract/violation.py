"""Helpers that raise AssertionError for a broken rule, even under `python -O`, which removes assert statements."""

from typing import Any

from orchestrator.federation.update import ClientFailure, ClientScore, ClientUpdate, Outcome


def require(condition: bool, message: str) -> None:
    """Raise AssertionError with the message unless the condition is true."""
    if not condition:
        raise AssertionError(message)


def updated(outcome: Outcome[Any]) -> ClientUpdate[Any]:
    """Return the update of a task. Raises AssertionError for another outcome."""
    if not isinstance(outcome, ClientUpdate):
        raise _unexpected(outcome)
    return outcome


def scored(outcome: Outcome[Any]) -> ClientScore:
    """Return the score of a task. Raises AssertionError for another outcome."""
    if not isinstance(outcome, ClientScore):
        raise _unexpected(outcome)
    return outcome


def _unexpected(outcome: Outcome[Any]) -> AssertionError:
    """Return the error for an unexpected outcome; the traceback of a failed client is its note."""
    error = AssertionError(str(outcome))
    if isinstance(outcome, ClientFailure):
        error.add_note(outcome.traceback)
    return error
