"""Checks, before a run starts and without importing MLflow, that a tracking server can be reached."""

import os
import ssl
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.sqlite_file import check_database
from orchestrator.tracking.tls import SERVER_CERTIFICATE, tls_context
from orchestrator.tracking.uris import public_uri, sqlite_path


def check_reachable(uri: str, field: str = "tracking.uri", *, timeout_s: float = 5.0) -> None:
    """Raise an error unless runs can be tracked at `uri`, which the user has set as `field` (a key or a variable).

    Raises ConfigError when the URI is neither SQLite nor http(s). Raises TrackingError when the server does not answer
    at /health within `timeout_s`, when its certificate is not trusted, or when the database is damaged or cannot be
    written.
    """
    path = sqlite_path(uri)
    if path is not None:
        check_database(path, field)
    elif _is_http(uri):
        _check_answers(uri, field, timeout_s)
    else:
        raise ConfigError(
            field,
            public_uri(uri),
            "MLflow cannot store runs at this URI",
            "set tracking.uri to sqlite:////absolute/path/mlflow.db (write ? as %3F, % as %25) or http(s)://host:port",
        )


def _is_http(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return False


def _check_answers(uri: str, field: str, timeout_s: float) -> None:
    context = tls_context(os.environ) if uri.startswith("https") else None
    try:
        with urlopen(public_uri(uri).rstrip("/") + "/health", timeout=timeout_s, context=context):
            return
    except HTTPError as error:
        if error.code in (401, 403):
            return  # the server answers; only MLflow's own client can check the credentials
        problem = f"/health answers {error.code}"
    except (OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise TrackingError(
                f"{field}={public_uri(uri)}: the server's certificate is not trusted ({reason.verify_message}); set "
                f"{SERVER_CERTIFICATE} to the file of its certificate authority"
            ) from error
        problem = f"the server does not answer ({reason})"
    raise TrackingError(
        f"{field}={public_uri(uri)}: {problem}; start the server (`mlflow server`), or correct the address, "
        "or use a local file (tracking.uri=sqlite:////path/mlflow.db)"
    )
