"""URIs of stores: paths with special characters, and passwords."""

import os
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy.engine import create_engine

from orchestrator.errors import ConfigError
from orchestrator.tracking.uris import (
    canonical_uri,
    client_uri,
    public_uri,
    sqlite_path,
    sqlite_uri,
    take_credentials,
)

#: names with each character that has a meaning in a URL or a shell
SPECIAL_NAMES = (
    *("a b", "a%20b", "a%b", "a%2Fb", "%2e%2e", "a?b", "a#b", "a&b=c", "a;b", "a+b", "a:b", "a@b", "a\\b"),
    *(
        "a'b",
        'a"b',
        "a$b",
        "a`b",
        "a*b",
        "a[1]",
        "{a}",
        "(a)",
        "~a",
        "a!b",
        "a|b",
        "<a>",
        "ä日",
        "a\tb",
        "-a",
    ),
)


@pytest.mark.parametrize("name", SPECIAL_NAMES)
def test_uri_of_any_path_opens_that_file_and_no_other(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    for uri in (sqlite_uri(folder / "m.db"), client_uri(sqlite_uri(folder / "m.db"))):
        assert sqlite_path(uri) == folder / "m.db"
        engine = create_engine(uri)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS one (a)")
            connection.commit()
        engine.dispose()
    assert list(tmp_path.iterdir()) == [folder]
    assert list(folder.iterdir()) == [folder / "m.db"]
    connection = sqlite3.connect(folder / "m.db")
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("one",)]
    connection.close()


def test_plain_path_is_unchanged_in_its_uri() -> None:
    assert sqlite_uri(Path("/some/where/mlflow.db")) == "sqlite:////some/where/mlflow.db"


def test_path_of_a_uri_is_absolute() -> None:
    assert sqlite_path("sqlite:////a b/m.db") == Path("/a b/m.db")
    assert sqlite_path("sqlite:////a%20b/m.db") == Path("/a b/m.db")
    assert sqlite_path("sqlite:///m.db") == Path.cwd() / "m.db"
    assert canonical_uri("sqlite:///m.db") == f"sqlite:///{Path.cwd()}/m.db"


@pytest.mark.parametrize(
    "uri",
    ["http://host", "sqlite://x", "sqlite:///", "sqlite:///:memory:", "sqlite:///file:a", "sqlite:///a?b"],
)
def test_other_uris_have_no_path_and_stay_unchanged(uri: str) -> None:
    assert sqlite_path(uri) is None
    assert canonical_uri(uri) == client_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "public"),
    [
        ("https://u:p@host:1/x", "https://host:1/x"),
        ("https://token@host/x", "https://host/x"),
        ("http://u:p%40%2F@host", "http://host"),
        ("http://u:p@[::1]:5000/x", "http://[::1]:5000/x"),
        ("http://u:p/q@host:1", "http://host:1"),
        ("http://u:p#q@host:1", "http://host:1"),
        ("http://u:p@q@host:1", "http://host:1"),
        ("postgresql+psycopg://u:p@host/db", "postgresql+psycopg://host/db"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("sqlite:////a@b/m.db", "sqlite:////a@b/m.db"),
    ],
)
def test_public_uri_has_no_user_and_no_password(uri: str, public: str) -> None:
    assert public_uri(uri) == public


class TestTakeCredentials:
    """`take_credentials`."""

    @pytest.mark.parametrize(
        ("uri", "user", "password"),
        [
            ("http://ann:secret@host:5000", "ann", "secret"),
            ("http://a%40b:p%2Fq%20r@host:5000", "a@b", "p/q r"),
            ("http://ann@host:5000", "ann", None),
        ],
    )
    def test_credentials_become_variables_of_mlflow(self, uri: str, user: str, password: str | None) -> None:
        assert take_credentials("tracking.uri", uri) == "http://host:5000"
        assert os.environ["MLFLOW_TRACKING_USERNAME"] == user
        assert os.environ.get("MLFLOW_TRACKING_PASSWORD") == password

    @pytest.mark.parametrize("uri", ["http://host:5000", "sqlite:////a@b/m.db"])
    def test_uri_without_credentials_is_unchanged(self, uri: str) -> None:
        assert take_credentials("tracking.uri", uri) == uri
        assert "MLFLOW_TRACKING_USERNAME" not in os.environ

    @pytest.mark.parametrize("password", ["p/q", "p#q", "p?q"])
    def test_ambiguous_password_is_rejected_and_not_shown(self, password: str) -> None:
        with pytest.raises(ConfigError) as raised:
            take_credentials("MLFLOW_TRACKING_URI", f"http://ann:{password}@host")
        assert (raised.value.field, raised.value.value) == ("MLFLOW_TRACKING_URI", "http://***@host")
        assert password not in str(raised.value)
        assert "MLFLOW_TRACKING_PASSWORD" not in os.environ
