"""Reads the cause of a trial's failure from the text file that Tune writes.

Tune keeps the exception itself only as a pickle, so the text is the only readable source.
"""

import re
from pathlib import Path
from typing import Any

from orchestrator.errors import ActorsLostError, one_line, without_colours
from orchestrator.execution.ray_actors import GONE

_MAX_CHARACTERS = 500
#: the line of a traceback that names the error: qualified class name, then an optional message
_ERROR_LINE = re.compile(r"((?:[A-Za-z_]\w*\.)*)([A-Za-z_]\w*)(?:: (.*)|:?)")


def read_error_file(trial: Any) -> str:
    """Read Tune's error file of a trial: a heading, then the error with its traceback; "" if there is no file."""
    return Path(trial.error_file).read_text() if trial.error_file else ""


def cause_of(error_text: str) -> str:
    """Return the cause of a failure on one line: the error that the trial raised, or why its actor died."""
    class_name, message = _last_error(error_text)
    if class_name:
        name = class_name.rpartition(".")[2]
        return one_line(f"{name}: {message}" if message else name)[:_MAX_CHARACTERS]
    text = _text_after_heading(error_text)
    reason = re.search(r"The actor is dead because [^.]+\.", text)
    return (reason[0] if reason else text)[:_MAX_CHARACTERS] or "Tune gives no cause"


def is_actor_loss(error_text: str) -> bool:
    """Whether the trial failed because its actor, or an actor that it needs, was lost.

    A lost actor leaves an error of a class that reports lost actors, or a text without any traceback.
    """
    class_name, _ = _last_error(error_text)
    if class_name:
        return class_name in _actor_loss_classes()
    return bool(_text_after_heading(error_text)) and not any(
        line.startswith("  File ") for line in _non_blank_lines(error_text)
    )


def _actor_loss_classes() -> set[str]:
    """Return the qualified names of all error classes that report a lost actor.

    The names include the module, because torch and Ray both have an OutOfMemoryError.
    """
    classes, names = [*GONE, ActorsLostError], set[str]()
    for error_class in classes:
        names.add(f"{error_class.__module__}.{error_class.__qualname__}")
        classes += error_class.__subclasses__()
    return names


def _last_error(error_text: str) -> tuple[str, str]:
    """Return the qualified class name and the message of the last error in the text; empty strings without an error."""
    for line in reversed(_non_blank_lines(error_text)):
        match = _ERROR_LINE.fullmatch(line)
        if match and (match[1] or match[2][0].isupper()):
            return match[1] + match[2], match[3] or ""
    return "", ""


def _text_after_heading(error_text: str) -> str:
    return one_line(" ".join(_non_blank_lines(error_text)[1:]))


def _non_blank_lines(error_text: str) -> list[str]:
    """Return the lines that are not blank, without terminal colours."""
    return [line for line in without_colours(error_text).splitlines() if line.strip()]
