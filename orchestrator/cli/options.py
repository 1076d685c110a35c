"""Options that several commands share, and helpers that print where results are."""

import shlex
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orchestrator.cli.views.completions import config_keys, run_names
from orchestrator.commands import command_line
from orchestrator.errors import RequestError, SparsefleetError

if TYPE_CHECKING:
    from orchestrator.config.runtime import TrackingConfig

Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Config keys and their values, such as training.rounds=50.",
        autocompletion=config_keys,
    ),
]
ConfigSources = Annotated[
    list[str] | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="Read the config from this YAML file, or from preset:NAME (see `list presets`). Can be repeated: later "
        "files take precedence.",
    ),
]
SummaryFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Write the result to this file as one JSON object; - is standard output."
    ),
]
#: value of an option for a file that means standard output
STDOUT = Path("-")
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Show tracebacks, Sparsefleet's log and Ray's log.")
]
Storage = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder that contains the runs (runtime.storage).")
]
StorageOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder that contains the runs. If not given: runtime.storage of KEY=VALUE or -c FILE, else `runs`.",
    ),
]
StorageKey = Annotated[
    list[str] | None,
    typer.Argument(metavar="[runtime.storage=DIR]", help="The same as --storage DIR, and takes precedence."),
]
StorageFile = Annotated[
    list[str] | None,
    typer.Option(
        "--config", "-c", metavar="FILE", help="Take runtime.storage from this YAML file. Can be repeated."
    ),
]
AcceptChangedCode = Annotated[
    bool,
    typer.Option(
        "--accept-changed-code", help="Continue although a file of a method, model or space has changed."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Profile = Annotated[
    bool,
    typer.Option("--profile", help="Measure what the rounds' time is spent on, and print it as a table."),
]
#: where `mlflow ui` listens by default
_MLFLOW_UI = "http://127.0.0.1:5000"
RunName = typer.Argument(metavar="RUN", help="The run's id or folder.", autocompletion=run_names)


def check_summary(summary: Path | None) -> None:
    """Raise RequestError when the file of `--summary` cannot be written, before the run starts."""
    if summary is None or summary == STDOUT:
        return
    if summary.is_dir():
        raise RequestError("--summary", summary, "this is a folder", "name a file")
    try:
        if summary.exists():
            summary.open("a").close()
        else:
            summary.parent.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=summary.parent).close()
    except OSError as error:
        problem = f"the file cannot be written ({error.strerror})"
        raise RequestError("--summary", summary, problem, "name a file that you can write") from error


def result_console(summary: Path | None) -> Console:
    """Return the console for a result: standard error if the summary takes standard output."""
    return Console(stderr=summary == STDOUT)


def require_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise RequestError when the option's value is not one of the choices."""
    if value not in choices:
        raise RequestError(option, value, "there is no such choice", f"choose one of {', '.join(choices)}")


def write_summary(summary: Path, text: str) -> None:
    """Write the result to a file. Raises SparsefleetError when writing fails; the run itself is complete."""
    if summary == STDOUT:
        print(text)
        return
    try:
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text(text + "\n")
    except OSError as error:
        problem = f"--summary={summary}: the file could not be written ({error.strerror})"
        raise SparsefleetError(
            f"{problem}; summary.json in the result's folder has the same content"
        ) from error


def run_ui_hint(folder: Path) -> str | None:
    """Return what `mlflow_ui_hint` returns for the run in a folder."""
    from orchestrator.config.runtime import TrackingConfig
    from orchestrator.runtime.session import storage_of
    from orchestrator.storage.run_store import RunStore

    tracking = TrackingConfig.model_validate(RunStore(folder).config()["tracking"])
    return mlflow_ui_hint(tracking, storage_of(folder), experiment_of(folder))


def experiment_of(folder: Path) -> str | None:
    """Return the id of the MLflow experiment of the run or sweep in a folder; None if it is not known."""
    from orchestrator.errors import CheckpointError
    from orchestrator.tracking.delivery import Delivery

    try:
        delivery = Delivery.load(folder)
    except CheckpointError:  # the hint is the last line of a run that is complete
        return None
    return delivery.experiment_id if delivery is not None else None


def mlflow_ui_hint(tracking: "TrackingConfig", storage: Path, experiment_id: str | None) -> str | None:
    """Return the command or address that opens the runs in the MLflow UI; None when tracking is off.

    `experiment_id` is the id of the experiment in the store; None: the address is that of the whole server.
    """
    from orchestrator.tracking.presentation.pages import page_at, runs_page
    from orchestrator.tracking.uris import client_uri, sqlite_path

    if not tracking.enabled:
        return None
    if tracking.uri is None:
        return command_line("ui", "--storage", storage)
    page = "" if experiment_id is None else runs_page(experiment_id)
    if sqlite_path(tracking.uri) is None:
        return page_at(tracking.uri, page)
    command = f"mlflow ui --backend-store-uri {shlex.quote(client_uri(tracking.uri))}"
    return f"{command}, then {page_at(_MLFLOW_UI, page)}"


def chosen_storage(option: Path | None, overrides: list[str] | None, sources: list[str] | None) -> Path:
    """Return the storage folder of a command that reads runs. Raises ConfigError for an unreadable file."""
    from orchestrator.config.overrides import read_configs
    from orchestrator.storage.lookup import storage_folder

    return storage_folder(option, overrides or (), read_configs(sources) if sources else None)
