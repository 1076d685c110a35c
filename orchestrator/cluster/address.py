"""Where the cluster is that a command means."""

import os
import socket
from collections.abc import Mapping

DEFAULT = "http://127.0.0.1:8265"
VARIABLES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")


def cluster_address(given: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """The address given, else that of Ray's own variables, else the dashboard of a cluster on this machine."""
    named = (environment.get(variable) for variable in VARIABLES)
    return given or next((address for address in named if address), DEFAULT)


def listens(address: str, timeout_s: float = 2.0) -> bool:
    """Whether anything listens at http(s)://host:port or host:port; True for `auto`, which only Ray can follow."""
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


def is_named(given: str | None, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody has said where the cluster is."""
    return bool(given) or any(environment.get(variable) for variable in VARIABLES)
