"""The words of a command that is to run on a cluster: what would be lost or seen there is refused."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import flatten, parse_overrides, read_yaml
from orchestrator.errors import RequestError

#: what makes sense as a job; the others serve the person at the terminal
COMMANDS = (
    "run",
    "resume",
    "sweep",
    "compare",
    "retime",
    "demo",
    "check",
    "partition",
    "list",
    "doctor",
)
#: commands that keep or look for runs in `--storage`
_KEEPING = ("resume", "sweep", "compare", "retime", "demo")
_PASSWORD = re.compile(r"(\w+://)[^/\s@]*:[^/\s@]*@")


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A command, the words that ask for it, and its arguments and options by name as the command line parsed them."""

    command: str
    words: tuple[str, ...]
    options: Mapping[str, Any]


def settings_of(asked: ParsedCommand, base: Path) -> dict[str, Any]:
    """Dotted key -> value of the config file, read in the folder `base`, and the overrides. Raises ConfigError.

    A file that only the cluster has, by its absolute path, says nothing here.
    """
    file: Path | None = asked.options.get("config")
    if file is None or (file.is_absolute() and not file.exists()):
        content = {}
    else:
        content = read_yaml(base / file)
    return flatten(content) | parse_overrides(asked.options.get("overrides") or [])


def completed(asked: ParsedCommand, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """The words as the job is to run them.

    Raises RequestError for a password, and for results that would lie in the job's own folder and go with it.
    """
    _refuse_passwords(asked, settings)
    _refuse_lost_results(asked, settings)
    takes_address = asked.command in ("run", "resume", "sweep") and not asked.options.get("resume")
    if takes_address and "runtime.address" not in settings:
        return (*asked.words, "runtime.address=auto")
    return asked.words


def _refuse_passwords(asked: ParsedCommand, settings: Mapping[str, Any]) -> None:
    named = [*((key, str(value)) for key, value in settings.items()), *(("COMMAND", w) for w in asked.words)]
    for field, value in named:
        if _PASSWORD.search(value):
            raise RequestError(
                field,
                _PASSWORD.sub(r"\1***@", value),
                "a command's words and files can be read by others on the cluster",
                "leave the password out, set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD here, "
                "and pass them on with --env MLFLOW_TRACKING_USERNAME --env MLFLOW_TRACKING_PASSWORD",
            )


def _refuse_lost_results(asked: ParsedCommand, settings: Mapping[str, Any]) -> None:
    for field, folder in _kept(asked, settings):
        if not folder.startswith(("/", "~")) and "://" not in folder:
            raise RequestError(
                field,
                folder,
                "a relative place lies in the job's own folder, and is gone when the job is",
                f"name an absolute one that the cluster's machines share, such as {field}=/shared/{folder}",
            )


def _kept(asked: ParsedCommand, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What names the places that are to outlive the job: field and value."""
    options = asked.options
    begins_sweep = asked.command == "sweep" and not options.get("resume")
    if asked.command == "run" or (begins_sweep and not _is_storage_asked_for(options)):
        yield "runtime.storage", str(settings.get("runtime.storage", "runs"))
    elif asked.command in _KEEPING and not _all_absolute(options):
        yield "--storage", str(options.get("storage") or "runs")
    for option in ("summary", "out"):
        if options.get(option) is not None:
            yield f"--{option}", str(options[option])


def _is_storage_asked_for(options: Mapping[str, Any]) -> bool:
    """Whether a sweep's `--storage` says where it is kept: an override has the last word, a config file has not."""
    overrides = parse_overrides(options.get("overrides") or [])
    return options.get("storage") is not None and "runtime.storage" not in overrides


def _all_absolute(options: Mapping[str, Any]) -> bool:
    """Whether the runs or the sweep to go on with, or to look at, are named by absolute paths."""
    runs = options.get("runs") or [options.get("run") or (options.get("resume") and options.get("space"))]
    return all(isinstance(run, str) and run.startswith("/") for run in runs)
