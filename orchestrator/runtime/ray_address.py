"""Check that a Ray cluster answers at an address before Ray itself connects.

Ray waits minutes for an address that does not answer, writes lines of its own meanwhile, and cannot be interrupted.
"""

import os
from typing import Any

import grpc
from ray._private.grpc_utils import init_grpc_channel
from ray._private.services import canonicalize_bootstrap_address
from ray.core.generated import ray_client_pb2

from orchestrator.errors import AddressError, one_line

#: seconds that a cluster has to answer
ANSWER_S = 10.0
_MESSAGES: Any = ray_client_pb2  # generated code without types
#: method and request that Ray Client's server and the head answer
_CLIENT_CALL = (
    "/ray.rpc.RayletDriver/ClusterInfo",
    _MESSAGES.ClusterInfoRequest(type=_MESSAGES.ClusterInfoType.PING).SerializeToString(),
)
_HEAD_CALL = ("/ray.rpc.NodeInfoGcsService/CheckAlive", b"")
#: errors without an answer of Ray; other errors, such as a missing token, are answers
_NO_ANSWER = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNKNOWN,
)
_REMEDY = (
    "check the address, that the cluster runs, that this machine reaches its port, and that RAY_AUTH_MODE and "
    "RAY_USE_TLS are set as on the cluster"
)


def check_answers(field: str, address: str, timeout_s: float = ANSWER_S) -> None:
    """Raise AddressError if no cluster answers at `auto`, `host:port` or `ray://host:port`.

    `field` is the config key or option that contains the address.
    """
    try:
        target = _resolved(address)
    except (ConnectionError, ValueError) as error:
        raise AddressError(field, address, f"no cluster was found ({one_line(error)})", _REMEDY) from error
    uses_client, host_and_port = target.startswith("ray://"), target.removeprefix("ray://")
    if "://" in host_and_port:  # only Ray can resolve other schemes
        return
    server = "Ray Client's server" if uses_client else "the head"
    method, request = _CLIENT_CALL if uses_client else _HEAD_CALL
    with init_grpc_channel(host_and_port) as channel:
        try:
            channel.unary_unary(method)(request, timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() in _NO_ANSWER:
                problem = (
                    f"{server} at {host_and_port} did not answer in {timeout_s:g} s ({error.code().name})"
                )
                raise AddressError(field, address, problem, _REMEDY) from error


def _resolved(address: str) -> str:
    """Return `host:port` or an address with a scheme; `auto` is RAY_ADDRESS or a cluster on this machine."""
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or address
    return address if "://" in address else canonicalize_bootstrap_address(address) or address
