"""What several commands of the command line share: their options, and how they say where things are."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.errors import RequestError, SparsefleetError

if TYPE_CHECKING:
    from orchestrator.experiment.config import ExperimentConfig

Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Config keys, as in training.rounds=50.")
]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="YAML config file.")]
SummaryFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Write the result as one JSON object.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and Ray's own log.")]
Storage = Annotated[Path, typer.Option(metavar="DIR", help="Folder with the runs (runtime.storage).")]


def check_summary(summary: Path | None) -> None:
    """Refuse a place that cannot take the result before hours are spent on it."""
    if summary is not None and summary.is_dir():
        raise RequestError("--summary", summary, "this is a folder", "name a file")


def write_summary(summary: Path, text: str) -> None:
    """Write the result. Raises SparsefleetError where it cannot be: the run itself is complete."""
    try:
        summary.parent.mkdir(parents=True, exist_ok=True)
        summary.write_text(text + "\n")
    except OSError as error:
        problem = f"--summary={summary}: it could not be written ({error.strerror})"
        raise SparsefleetError(
            f"{problem}; the same is in summary.json in its folder, which is complete"
        ) from error


def where_to_look(config: "ExperimentConfig") -> str | None:
    """How to open the runs in the MLflow UI; None where nothing is tracked."""
    from orchestrator.tracking.reachable import public_uri

    if not config.tracking.enabled:
        return None
    if config.tracking.uri is None:
        return f"{program()} ui --storage {shlex.quote(str(config.runtime.storage))}"
    if config.tracking.uri.startswith("sqlite:"):
        return f"mlflow ui --backend-store-uri {shlex.quote(config.tracking.uri)}"
    return public_uri(config.tracking.uri)


def program() -> str:
    """How the user can call this program again: as it was called, where that was the installed script."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "sparsefleet" else "sparsefleet"
