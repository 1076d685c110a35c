"""Check and complete the arguments of a command before the command runs as a job on a cluster.

A command is rejected when the cluster would lose its results or when its arguments show a password.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config.overrides import flatten, parse_overrides, read_configs
from orchestrator.errors import RequestError, has_password, hide_passwords
from orchestrator.storage.lookup import STORAGE_KEY, split_storage_key, storage_folder

#: commands that may run as a job; the other commands serve the user at the terminal
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
#: commands that write runs to `--storage` or read runs from it
_STORAGE_COMMANDS = ("resume", "sweep", "compare", "retime", "demo")
#: value of an option that means standard output, which the job's log contains
STDOUT = Path("-")


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A command with its arguments.

    `arguments` contains the command and all that follows it, as the user typed them. `options` maps the name of
    each parsed argument and option to its value.
    """

    command: str
    arguments: tuple[str, ...]
    options: Mapping[str, Any]


def command_settings(parsed: ParsedCommand, base: Path) -> dict[str, Any]:
    """Return dotted key -> value from the config files, relative to the folder `base`, and from the overrides.

    A config file with an absolute path may exist on the cluster only. Its keys are then left out.
    Raises ConfigError for a file or an override that cannot be read.
    """
    sources: list[str] = parsed.options.get("config") or []
    here = [source for source in sources if not source.startswith("/") or Path(source).exists()]
    return flatten(read_configs(here, base)) | parse_overrides(parsed.options.get("overrides") or [])


def job_arguments(parsed: ParsedCommand, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments with which the job runs the command.

    A command that trains joins the cluster unless the user sets `runtime.address`. Raises RequestError for a
    password, and for results in the job's own folder, which Ray deletes with the job.
    """
    _reject_passwords(parsed, settings)
    _reject_lost_results(parsed, settings)
    takes_address = parsed.command in ("run", "resume", "sweep") and not parsed.options.get("resume")
    if takes_address and "runtime.address" not in settings:
        return (*parsed.arguments, "runtime.address=auto")
    return parsed.arguments


def _reject_passwords(parsed: ParsedCommand, settings: Mapping[str, Any]) -> None:
    values = [(key, str(value)) for key, value in settings.items()]
    values += [("COMMAND", argument) for argument in parsed.arguments]
    for field, value in values:
        if has_password(value):
            raise RequestError(
                field,
                hide_passwords(value),
                "other users of the cluster can read the arguments and files of a job",
                "remove the password, write MLFLOW_TRACKING_USERNAME=... and MLFLOW_TRACKING_PASSWORD=... into a "
                "file on the cluster, and name the file with --env-file",
            )


def _reject_lost_results(parsed: ParsedCommand, settings: Mapping[str, Any]) -> None:
    for field, folder in _result_paths(parsed, settings):
        if not folder.startswith(("/", "~")) and "://" not in folder:
            raise RequestError(
                field,
                folder,
                "a relative path is inside the job's own folder, which Ray deletes with the job",
                f"give an absolute path that all machines of the cluster share, such as {field}=/shared/{folder}",
            )


def _result_paths(parsed: ParsedCommand, settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield field and value of every setting that names a place for results."""
    options = parsed.options
    starts_sweep = parsed.command == "sweep" and not options.get("resume")
    if parsed.command == "run" or (starts_sweep and not _has_storage_option(options)):
        yield "runtime.storage", str(settings.get("runtime.storage", "runs"))
    elif parsed.command in _STORAGE_COMMANDS and not _all_absolute(options):
        _, keys = split_storage_key([*(options.get("overrides") or []), *(options.get("runs") or [])])
        in_file = {"runtime": {"storage": settings.get(STORAGE_KEY)}}
        yield "--storage", str(storage_folder(options.get("storage"), keys, in_file))
    for option in ("summary", "out"):
        if options.get(option) not in (None, STDOUT):
            yield f"--{option}", str(options[option])


def _has_storage_option(options: Mapping[str, Any]) -> bool:
    """Whether `--storage` decides the storage folder of a sweep.

    An override of `runtime.storage` takes precedence over `--storage`; a config file does not.
    """
    overrides = parse_overrides(options.get("overrides") or [])
    return options.get("storage") is not None and "runtime.storage" not in overrides


def _all_absolute(options: Mapping[str, Any]) -> bool:
    """Whether absolute paths name all runs or the sweep that the command reads or resumes."""
    runs, _ = split_storage_key(options.get("runs") or [])
    names: Sequence[Any] = runs or [options.get("run") or (options.get("resume") and options.get("space"))]
    return all(isinstance(run, str) and run.startswith("/") for run in names)
