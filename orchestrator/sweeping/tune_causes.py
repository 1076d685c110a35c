"""Why a trial failed, read off what Tune writes down: it hands the error itself to nobody."""

import re
from pathlib import Path
from typing import Any

from orchestrator.errors import ActorsLostError, one_line

_MOST_LETTERS = 500


def what_tune_noted(trial: Any) -> str:
    """Tune's file on a trial's failure: a heading, then the error with its traceback; "" where there is none."""
    return Path(trial.error_file).read_text() if trial.error_file else ""


def cause_of(noted: str) -> str:
    """What went wrong, on one line: the error that the trial raised, else how its actor ended."""
    kind, message = _raised(noted)
    if kind:
        return one_line(f"{kind}: {message}" if message else kind)[:_MOST_LETTERS]
    return _beside_the_heading(noted)[:_MOST_LETTERS] or "Tune gives no cause"


def is_loss(noted: str) -> bool:
    """Whether the trial's actor, or those that it needs, are gone: it raised nothing, or just that."""
    kind, _ = _raised(noted)
    return kind == ActorsLostError.__name__ if kind else bool(_beside_the_heading(noted))


def _raised(noted: str) -> tuple[str, str]:
    """The class and the message of the error that was raised last, "" where there is none."""
    found = [line for line in _plain(noted) if re.fullmatch(r"([A-Za-z_]\w*\.)*[A-Z]\w*(: .*)?", line)]
    kind, _, message = found[-1].partition(": ") if found else ("", "", "")
    return kind.rpartition(".")[2], message


def _beside_the_heading(noted: str) -> str:
    return one_line(" ".join(_plain(noted)[1:]))


def _plain(noted: str) -> list[str]:
    """The lines that say something, without colours."""
    return [line for line in re.sub(r"\x1b\[[0-9;]*m", "", noted).splitlines() if line.strip()]
