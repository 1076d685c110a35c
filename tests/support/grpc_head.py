"""A gRPC server in the place of a cluster's head: it answers every call with an empty message or an error."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc


class _AnyCall(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def service(self, details: Any) -> Any:
        """Return the handler of a call to any method."""
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: Any) -> bytes:
        if self._code is not grpc.StatusCode.OK:
            context.abort(self._code, "")
        return b""


@contextmanager
def grpc_head(code: grpc.StatusCode = grpc.StatusCode.OK) -> Iterator[int]:
    """Yield the port of a server on 127.0.0.1 that answers each call with this code."""
    server = grpc.server(ThreadPoolExecutor(1), handlers=[_AnyCall(code)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()
