"""The check of a tracking server before a run; all servers are on this machine."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from mlflow.utils.credentials import get_default_host_creds

from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.reachable import check_reachable
from orchestrator.tracking.tls import SERVER_CERTIFICATE
from tests.support.certificates import serve_tls, write_certificate


class Health(BaseHTTPRequestHandler):
    """Answers /<code>/health with this status code."""

    def do_GET(self) -> None:
        parts = self.path.split("/")
        self.send_response(int(parts[1]) if parts[2:] == ["health"] else 404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server in this process."""
    with HTTPServer(("127.0.0.1", 0), Health) as http:
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


@pytest.fixture
def private_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a server with a certificate of a private authority, and the authority's file."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # the machine's own settings
        monkeypatch.delenv(name, raising=False)
    certificate, key = write_certificate(tmp_path)
    with HTTPServer(("127.0.0.1", 0), Health) as http:
        serve_tls(http, certificate, key)
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"https://127.0.0.1:{http.server_port}/200", certificate
        http.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
)
def test_server_of_a_private_authority_is_accepted_if_the_user_trusts_it(
    private_server: tuple[str, Path], variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own client agrees."""
    address, authority = private_server
    with pytest.raises(TrackingError, match=SERVER_CERTIFICATE):
        check_reachable(address)
    monkeypatch.setenv(variable, str(authority))
    check_reachable(address)
    response = requests.get(f"{address}/health", timeout=10, verify=get_default_host_creds(address).verify)
    assert response.status_code == 200


def test_server_of_a_private_authority_is_accepted_if_certificates_do_not_matter(
    private_server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
    check_reachable(private_server[0])


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_rejected_with_their_variable(
    private_server: tuple[str, Path],
    variable: str,
    content: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "wrong.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv(variable, str(file))
    with pytest.raises(ConfigError) as caught:
        check_reachable(private_server[0])
    assert (caught.value.field, caught.value.value) == (variable, str(file))


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
