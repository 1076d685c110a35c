"""The check of a tracking server before a run; all servers are on this machine."""

from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.reachable import check_reachable
from tests.support.health_server import Health


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server in this process."""
    with HTTPServer(("127.0.0.1", 0), Health) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("path", ["/200", "/200/", "/401", "/403"])
def test_check_reachable_accepts_a_server_that_answers(server: str, path: str) -> None:
    check_reachable(server + path)
    check_reachable(server.replace("//", "//ann:secret@") + path)


def test_check_reachable_rejects_an_error_status(server: str) -> None:
    with pytest.raises(TrackingError, match=r"tracking\.uri=.*/503: .*\b503\b"):
        check_reachable(server + "/503")
    with pytest.raises(TrackingError, match=r"\b404\b"):
        check_reachable(server)


def test_check_reachable_reports_an_unreachable_server_without_the_password(server: str) -> None:
    with HTTPServer(("127.0.0.1", 0), Health) as closed:
        port = closed.server_port
    with pytest.raises(TrackingError) as raised:
        check_reachable(f"http://ann:secret@127.0.0.1:{port}")
    text = str(raised.value)
    assert text.startswith(f"tracking.uri=http://127.0.0.1:{port}: ")
    assert "secret" not in text
    assert "\n" not in text


def test_check_reachable_creates_the_folder_of_a_sqlite_database(tmp_path: Path) -> None:
    check_reachable(f"sqlite:///{tmp_path}/new/folder/mlflow.db")
    assert (tmp_path / "new" / "folder").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(TrackingError, match=f"tracking.uri=sqlite:///{tmp_path}/file/mlflow.db: "):
        check_reachable(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(TrackingError, match=f"tracking.uri=sqlite:///{tmp_path}/new/folder: "):
        check_reachable(f"sqlite:///{tmp_path}/new/folder")


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mlruns",
        "file:///tmp/mlruns",
        "htp://host:5000",
        "http://",
        "http://[::1",
        "sqlite://x",
        "sqlite:///a?b",
    ],
)
def test_check_reachable_rejects_other_uris(uri: str) -> None:
    with pytest.raises(ConfigError) as raised:
        check_reachable(uri)
    assert (raised.value.field, raised.value.value) == ("tracking.uri", uri)


def test_check_reachable_reports_an_invalid_port() -> None:
    with pytest.raises(TrackingError, match=r"http://127\.0\.0\.1:many: "):
        check_reachable("http://127.0.0.1:many")


def test_error_names_the_variable_that_contains_the_uri() -> None:
    with pytest.raises(ConfigError) as raised:
        check_reachable("file:///mlruns", "MLFLOW_TRACKING_URI")
    assert (raised.value.field, raised.value.value) == ("MLFLOW_TRACKING_URI", "file:///mlruns")
