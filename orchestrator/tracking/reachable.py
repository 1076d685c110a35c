"""Checks, before a run starts and without importing MLflow, that a tracking server can be reached."""

import os
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from orchestrator.errors import ConfigError, TrackingError

_SQLITE = "sqlite:///"


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of the database in a `sqlite:///...` URI; None for any other URI."""
    return Path(uri.removeprefix(_SQLITE)).absolute() if uri.startswith(_SQLITE) else None


def public_uri(uri: str) -> str:
    """Return the URI without user name and password, for messages and files."""
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else uri


def check_reachable(uri: str, timeout_s: float = 5.0) -> None:
    """Raise an error unless runs can be tracked at `uri`.

    Raises ConfigError when the URI is neither SQLite nor http(s). Raises TrackingError when the server does not answer
    at /health within `timeout_s`, or when the database cannot be written.
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
            "MLflow cannot store runs at this URI",
            "use sqlite:////absolute/path/mlflow.db or http(s)://host:port",
        )


def _check_writable(uri: str, path: Path) -> None:
    problem = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"the folder {path.parent} cannot be created ({error.strerror})"
    else:
        for place in (path.parent, path):
            if place.exists() and not os.access(place, os.W_OK):
                problem = f"{place} is not writable"
        if path.is_dir():
            problem = f"{path} is a folder"
    if problem is not None:
        raise TrackingError(f"tracking.uri={uri}: {problem}; choose a path that can be written")


def _check_answers(uri: str, timeout_s: float) -> None:
    try:
        with urlopen(public_uri(uri).rstrip("/") + "/health", timeout=timeout_s):
            return
    except HTTPError as error:
        if error.code in (401, 403):
            return  # the server answers; only MLflow's own client can check the credentials
        problem = f"/health answers {error.code}"
    except (OSError, HTTPException) as error:
        problem = f"the server does not answer ({getattr(error, 'reason', error)})"
    raise TrackingError(
        f"tracking.uri={public_uri(uri)}: {problem}; start the server (`mlflow server`), or correct the address, "
        "or leave tracking.uri out to use a local SQLite file"
    )
