"""The TLS settings with which MLflow's client connects to a server, without importing MLflow."""

import ssl
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from orchestrator.errors import ConfigError

INSECURE, SERVER_CERTIFICATE = "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH"
CLIENT_CERTIFICATE = "MLFLOW_TRACKING_CLIENT_CERT_PATH"
#: variables with a file of trusted authorities, the first that is set counts; the last two are those of `requests`
_AUTHORITIES = (SERVER_CERTIFICATE, "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context for these environment variables. Raises ConfigError for a file that cannot be read."""
    context = ssl.create_default_context()
    name = next((name for name in _AUTHORITIES if environment.get(name)), None)
    if environment.get(INSECURE, "").lower() in ("true", "1") and name != SERVER_CERTIFICATE:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif name is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _load(name, environment[name], partial(_add_authorities, context))
    if certificate := environment.get(CLIENT_CERTIFICATE):
        _load(CLIENT_CERTIFICATE, certificate, context.load_cert_chain)
    return context


def _add_authorities(context: ssl.SSLContext, path: str) -> None:
    """Trust the authorities in a file, or in a folder with names by hash."""
    if Path(path).is_dir():
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)


def _load(name: str, file: str, load: Callable[[str], None]) -> None:
    try:
        load(file)
    except OSError as error:  # an SSLError is one too
        problem = f"the certificates cannot be read ({error.strerror or error})"
        raise ConfigError(name, file, problem, "name a file in PEM format, or unset the variable") from error
