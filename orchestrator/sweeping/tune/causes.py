"""Why a trial failed, read off what Tune writes down for people: the error itself it keeps as a pickle only."""

import re
from pathlib import Path
from typing import Any

from orchestrator.errors import ActorsLostError, one_line, without_colours
from orchestrator.execution.ray_actors import GONE

_MOST_LETTERS = 500
#: a class with its modules, and what it says; a message is one of a class that is written like one
_RAISED = re.compile(r"((?:[A-Za-z_]\w*\.)*)([A-Za-z_]\w*)(?:: (.*)|:?)")


def what_tune_noted(trial: Any) -> str:
    """Tune's file on a trial's failure: a heading, then the error with its traceback; "" where there is none."""
    return Path(trial.error_file).read_text() if trial.error_file else ""


def cause_of(noted: str) -> str:
    """What went wrong, on one line: the error that the trial raised, else how its actor ended."""
    kind, message = _raised(noted)
    if kind:
        name = kind.rpartition(".")[2]
        return one_line(f"{name}: {message}" if message else name)[:_MOST_LETTERS]
    said = _beside_the_heading(noted)
    why = re.search(r"The actor is dead because [^.]+\.", said)
    return (why[0] if why else said)[:_MOST_LETTERS] or "Tune gives no cause"


def is_loss(noted: str) -> bool:
    """Whether the trial's actor, or those that it needs, are gone: it has raised nothing, or just that."""
    kind, _ = _raised(noted)
    if kind:
        return kind in _losses()
    return bool(_beside_the_heading(noted)) and not any(line.startswith("  File ") for line in _lines(noted))


def _losses() -> set[str]:
    """The classes whose errors say that somebody is gone, with their modules: torch too knows an OutOfMemoryError."""
    kinds, found = [*GONE, ActorsLostError], set[str]()
    for kind in kinds:
        found.add(f"{kind.__module__}.{kind.__qualname__}")
        kinds += kind.__subclasses__()
    return found


def _raised(noted: str) -> tuple[str, str]:
    """The class with its modules and the message of the error that was raised last, "" where there is none."""
    for line in reversed(_lines(noted)):
        match = _RAISED.fullmatch(line)
        if match and (match[1] or match[2][0].isupper()):
            return match[1] + match[2], match[3] or ""
    return "", ""


def _beside_the_heading(noted: str) -> str:
    return one_line(" ".join(_lines(noted)[1:]))


def _lines(noted: str) -> list[str]:
    """Those that say something."""
    return [line for line in without_colours(noted).splitlines() if line.strip()]
