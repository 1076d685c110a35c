"""Finds or creates an MLflow experiment, and checks before a run starts that the experiment can store the run."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from orchestrator.atomic_write import PRIVATE_FOLDER
from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.mlflow.client import connect
from orchestrator.tracking.mlflow.errors import http_status, is_rejection, reason
from orchestrator.tracking.presentation.pages import VIEW, VIEW_TAG
from orchestrator.tracking.sqlite_file import schema_versions
from orchestrator.tracking.uris import PASSWORD, USER, client_uri, public_uri, sqlite_path, sqlite_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

_MAX_NAME_LENGTH = 500
#: tags of a new experiment; earlier MLflow versions choose the view of an experiment by its kind
_TAGS = {"mlflow.experimentKind": "custom_model_development", VIEW_TAG: VIEW}
_OTHER_NAME = "set tracking.experiment to another name"


def check_experiment(uri: str, name: str) -> None:
    """Check that MLflow will accept runs in an experiment of the store at `uri`. Creates nothing.

    Raises ConfigError for a name that MLflow rejects, and for a deleted experiment. Raises TrackingError for a database
    of another version of MLflow, for rejected credentials, and for an artifact folder that cannot be written. Ignores
    errors of a server that a later attempt may not have.
    """
    if len(name) > _MAX_NAME_LENGTH:
        problem = f"MLflow accepts at most {_MAX_NAME_LENGTH} characters, and this name has {len(name)}"
        raise ConfigError("tracking.experiment", f"{name[:40]}...", problem, "set a shorter name")
    path = sqlite_path(uri)
    if path is not None:
        if not path.exists() or not path.stat().st_size:
            return
        check_schema(path)
    try:
        experiment = connect(uri).get_experiment_by_name(name)
    except Exception as error:  # errors of MLflow, requests, SQLAlchemy or the system
        if is_rejection(error):
            raise _rejection(uri, error) from error
        return
    if experiment is not None:
        _check_active(experiment)
        _check_artifacts(experiment, is_file=path is not None)


def find_or_create_experiment(client: "MlflowClient", uri: str, name: str, artifact_root: str | None) -> str:
    """Return the id of the experiment. Raises ConfigError for a deleted experiment, and the errors of MLflow.

    `artifact_root` is the artifact folder of a new experiment in a SQLite file (None: next to the file).
    """
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            location = _artifact_location(uri, artifact_root)
            return str(client.create_experiment(name, artifact_location=location, tags=_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            experiment = client.get_experiment_by_name(name)  # another process created the experiment first
    _check_active(experiment)
    if experiment.tags.get(VIEW_TAG) != VIEW:
        client.set_experiment_tag(experiment.experiment_id, VIEW_TAG, VIEW)
    return str(experiment.experiment_id)


def _artifact_location(uri: str, artifact_root: str | None) -> str | None:
    """Return the artifact URI for a SQLite store; None for a server, which chooses its own."""
    path = sqlite_path(uri)
    if path is None:
        return None
    if artifact_root is None:
        folder = path.parent / "mlartifacts"
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        return folder.as_uri()
    return artifact_root if "://" in artifact_root else Path(artifact_root).absolute().as_uri()


def _check_active(experiment: "Experiment") -> None:
    if experiment.lifecycle_stage == "deleted":
        problem = "this experiment is deleted in MLflow"
        remedy = f"{_OTHER_NAME}, or restore it (`mlflow experiments restore -x {experiment.experiment_id}`)"
        raise ConfigError("tracking.experiment", experiment.name, problem, remedy)


def _check_artifacts(experiment: "Experiment", *, is_file: bool) -> None:
    """Check the artifact folder if this machine writes to it itself, not through a server."""
    location = urlsplit(experiment.artifact_location)
    if location.scheme not in ("", "file"):
        return
    folder = Path(unquote(location.path))
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        remedy = _OTHER_NAME if is_file else "start the server with --serve-artifacts, or " + _OTHER_NAME
        raise TrackingError(
            f"tracking.experiment={experiment.name}: its artifact folder {folder} cannot be written; {remedy}"
        )


def check_schema(path: Path) -> None:
    """Raise TrackingError when another version of MLflow than the installed one made a database.

    MLflow would migrate some older databases without a copy, and reject the others only when the run has started.
    """
    import mlflow
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(mlflow.__file__).parent / "store" / "db_migrations"))
    current = schema_versions(path)
    if not current or current == set(scripts.get_heads()):
        return
    place = f"tracking.uri={sqlite_uri(path)}"
    if current <= {script.revision for script in scripts.walk_revisions()}:
        command = f"mlflow db upgrade {shlex.quote(client_uri(sqlite_uri(path)))}"
        raise TrackingError(
            f"{place}: an older version of MLflow made this database; copy the file, then run `{command}`"
        )
    raise TrackingError(
        f"{place}: a newer version than {mlflow.__version__} of MLflow made this database; update MLflow, or set "
        "tracking.uri to another file"
    )


def _rejection(uri: str, error: Exception) -> TrackingError:
    place = f"tracking.uri={public_uri(uri)}"
    if http_status(error) in (401, 403):
        return TrackingError(
            f"{place}: the server rejects the user name or password ({reason(error)}); set {USER} and {PASSWORD}, "
            "or ask the server's administrator for access"
        )
    return TrackingError(
        f"{place}: the server rejects the experiment ({reason(error)}); check that an MLflow server answers there"
    )
