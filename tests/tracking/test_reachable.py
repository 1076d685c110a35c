"""Asking for a server before a run: loopback only."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.reachable import check_reachable, public_uri, sqlite_path


class Health(BaseHTTPRequestHandler):
    """Answers /<code>/health with that code."""

    def do_GET(self) -> None:
        parts = self.path.split("/")
        self.send_response(int(parts[1]) if parts[2:] == ["health"] else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    """Address of a server in this process."""
    with HTTPServer(("127.0.0.1", 0), Health) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/200", "/200/", "/401", "/403"])
def test_a_server_that_answers_will_do(server: str, path: str) -> None:
    check_reachable(server + path)
    check_reachable(server.replace("//", "//ann:secret@") + path)


def test_a_server_that_is_not_mlflow_or_is_ill_will_not(server: str) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri=.*/503: /health answers 503; start it"):
        check_reachable(server + "/503")
    with pytest.raises(TrackingError, match="/health answers 404"):
        check_reachable(server)


def test_nobody_there_is_one_line_without_the_password(server: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Health) as closed:
        port = closed.server_port
    with pytest.raises(TrackingError) as raised:
        check_reachable(f"http://ann:secret@127.0.0.1:{port}")
    text = str(raised.value)
    assert text.startswith(f"tracking.uri=http://127.0.0.1:{port}: the server does not answer (")
    assert "secret" not in text
    assert "\n" not in text


def test_sqlite_needs_a_folder_that_can_be_made(tmp_path: Path) -> None:
    check_reachable(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match="cannot be made"):
        check_reachable(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(TrackingError, match="is a folder"):
        check_reachable(f"sqlite:///{tmp_path}/new/folder")


@pytest.mark.parametrize(
    "uri", ["", "mlruns", "file:///tmp/mlruns", "htp://host:5000", "http://", "sqlite://x"]
)
def test_other_addresses_are_a_wrong_request(uri: str) -> None:
    with pytest.raises(ConfigError, match=r"give sqlite:////absolute") as raised:
        check_reachable(uri)
    assert raised.value.field == "tracking.uri"


def test_a_port_that_is_no_number_is_a_tracking_error() -> None:
    with pytest.raises(TrackingError, match="does not answer"):
        check_reachable("http://127.0.0.1:many")


def test_parts_of_addresses() -> None:
    assert sqlite_path("sqlite:////a b/m.db") == Path("/a b/m.db")
    assert sqlite_path("sqlite:///m.db") == Path.cwd() / "m.db"
    assert sqlite_path("http://host") is None
    assert public_uri("https://u:p@host:1/x") == "https://host:1/x"
    assert public_uri("sqlite:////a@b/m.db") == "sqlite:////a@b/m.db"
