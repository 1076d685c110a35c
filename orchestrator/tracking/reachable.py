"""Can the tracking server be reached? Asked before a run starts, without importing MLflow."""

import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from orchestrator.errors import ConfigError, TrackingError

_SQLITE = "sqlite:///"


def sqlite_path(uri: str) -> Path | None:
    """The absolute path of the database of a `sqlite:///...` URI; None for any other URI."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def public_uri(uri: str) -> str:
    """The URI without user name and password, fit for messages and files."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def check_reachable(uri: str, timeout_s: float = 5.0) -> None:
    """Return when runs can be tracked at `uri`.

    Raises ConfigError for a URI that is neither SQLite nor http(s), TrackingError for a server that does
    not answer at /health within `timeout_s` or a database that could not be written.
    """
    path = sqlite_path(uri)
    if path is not None:
        _check_writable(uri, path)
    elif urlsplit(uri).scheme in ("http", "https") and urlsplit(uri).hostname:
        _check_answers(uri, timeout_s)
    else:
        raise ConfigError(
            "tracking.uri",
            public_uri(uri),
            "not a place MLflow can keep runs",
            "give sqlite:////absolute/path/mlflow.db or http(s)://host:port",
        )


def _check_writable(uri: str, path: Path) -> None:
    problem = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder {path.parent} cannot be made ({error.strerror})"
    else:
        for place in (path.parent, path):
            if place.exists() and not os.access(place, os.W_OK):
                problem = f"{place} is not writable"
        if path.is_dir():
            problem = f"{path} is a folder"
    if problem is not None:
        raise TrackingError(f"tracking.uri={uri}: {problem}; choose a place that can be written")


def _check_answers(uri: str, timeout_s: float) -> None:
    try:
        with urlopen(public_uri(uri).rstrip("/") + "/health", timeout=timeout_s):
            return
    except HTTPError as error:
        if error.code in (401, 403):
            return  # it answers; whether the credentials suffice only MLflow's own client knows
        problem = f"/health answers {error.code}"
    except (OSError, HTTPException) as error:
        problem = f"the server does not answer ({getattr(error, 'reason', error)})"
    raise TrackingError(
        f"tracking.uri={public_uri(uri)}: {problem}; start it (`mlflow server`), or correct the address, "
        "or leave tracking.uri out to use a local SQLite file"
    )
