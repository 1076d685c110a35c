"""Reads and builds the URIs of tracking stores. SQLAlchemy quotes and unquotes the paths of databases."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.errors import ConfigError, hide_passwords

#: the driver makes MLflow skip `Path(text of the URI).mkdir`, which would create the folder of the quoted path
_DRIVER = "sqlite+pysqlite"
USER, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"


def sqlite_path(uri: str) -> Path | None:
    """Return the absolute path of the database file in a SQLite URI; None for any other URI, and for one with options.

    A `?` in a path is written as `%3F`, as SQLAlchemy requires.
    """
    if not uri.startswith(("sqlite:", f"{_DRIVER}:")) or "?" in uri:
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except (ArgumentError, ValueError):
        return None
    if url.host or not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        return None
    return Path(url.database).absolute()


def sqlite_uri(path: Path) -> str:
    """Return the URI of a SQLite file, with each special character of the path quoted."""
    return _sqlite_uri("sqlite", path)


def client_uri(uri: str) -> str:
    """Return the form of a URI that MLflow's client and server get."""
    path = sqlite_path(uri)
    return uri if path is None else _sqlite_uri(_DRIVER, path)


def _sqlite_uri(driver: str, path: Path) -> str:
    from sqlalchemy.engine import URL

    return URL.create(driver, database=str(path)).render_as_string(hide_password=False)


def canonical_uri(uri: str) -> str:
    """Return the URI with the absolute path of a SQLite file, so that equal stores have equal URIs."""
    path = sqlite_path(uri)
    return uri if path is None else sqlite_uri(path)


def public_uri(uri: str) -> str:
    """Return the URI without user name and password, for messages and files."""
    return hide_passwords(uri).replace("://***@", "://")


def take_credentials(field: str, uri: str) -> str:
    """Move user name and password of a URI to MLflow's environment variables of this process; return the public URI.

    `field` is the key or variable that contains the URI. Raises ConfigError when the parts of the URI are ambiguous.
    """
    if public_uri(uri) == uri:
        return uri
    try:
        parts = urlsplit(uri)
        user, password, _ = parts.username, parts.password, parts.port
        if user is None:
            raise ValueError("the password contains a special character")
    except ValueError as error:
        raise ConfigError(
            field,
            hide_passwords(uri),
            "the user name and password in this address cannot be read",
            f"remove them from the address, and set {USER} and {PASSWORD}",
        ) from error
    os.environ[USER] = unquote(user)
    if password is not None:
        os.environ[PASSWORD] = unquote(password)
    return public_uri(uri)
