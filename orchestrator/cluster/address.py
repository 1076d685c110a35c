"""Find the address of the Ray cluster that a command works with."""

import os
import socket
from collections.abc import Mapping

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
ADDRESS_VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def cluster_address(address: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """Return `address` if it is given, else the value of Ray's variables, else the dashboard on this machine."""
    values = (environment.get(variable) for variable in ADDRESS_VARIABLES)
    return address or next((value for value in values if value), DEFAULT_ADDRESS)


def listens(address: str, timeout_s: float = 2.0) -> bool:
    """Whether a server accepts connections at `http(s)://host:port` or `host:port`.

    The result is True for `auto`, because only Ray can resolve this address.
    """
    scheme, separator, rest = address.rpartition("://")
    host, colon, port = rest.partition("/")[0].rpartition(":")
    if not colon:
        if not separator:
            return True
        host, port = port, "443" if scheme == "https" else "80"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout_s):
            return True
    except (OSError, ValueError):
        return False


def is_configured(address: str | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user names a cluster, by `address` or by one of Ray's variables."""
    return bool(address) or any(environment.get(variable) for variable in ADDRESS_VARIABLES)
