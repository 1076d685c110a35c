"""Tracking servers with certificates of a private authority; MLflow's own client decides in the same way."""

from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from threading import Thread

import pytest
import requests
from mlflow.utils.credentials import get_default_host_creds

from orchestrator.errors import ConfigError, TrackingError
from orchestrator.tracking.reachable import check_reachable
from orchestrator.tracking.tls import SERVER_CERTIFICATE
from tests.support.certificates import serve_tls, write_certificate
from tests.support.health_server import Health


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
