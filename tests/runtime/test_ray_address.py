"""Which addresses count as a cluster that answers. Each check ends within the given time."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest

from orchestrator.errors import AddressError
from orchestrator.runtime.ray_address import ANSWER_S, check_answers
from tests.support.grpc_head import grpc_head


@pytest.fixture(autouse=True)
def _no_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@contextmanager
def _silent_server(*, listening: bool) -> Iterator[int]:
    """Yield a port that accepts connections and never answers, or that accepts none."""
    with socket.socket() as server:
        server.bind(("", 0))
        if listening:
            server.listen()
        yield server.getsockname()[1]


def _rejected(address: str, timeout_s: float = 0.3) -> AddressError:
    with pytest.raises(AddressError) as caught:
        check_answers("runtime.address", address, timeout_s)
    assert (caught.value.field, caught.value.value) == ("runtime.address", address)
    assert caught.value.exit_code == 1
    return caught.value


@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED])
def test_client_server_that_answers_is_accepted(code: grpc.StatusCode) -> None:
    """A missing token is Ray's own, clearer error."""
    with grpc_head(code) as port:
        check_answers("runtime.address", f"ray://127.0.0.1:{port}", 10.0)


def test_auto_is_the_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with grpc_head() as port:
        monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{port}")
        check_answers("runtime.address", "auto", 10.0)
    assert f"127.0.0.1:{port}" in _rejected("auto").problem


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("listening", [False, True])
def test_silent_address_is_rejected(scheme: str, listening: bool) -> None:
    with _silent_server(listening=listening) as port:
        assert f":{port}" in _rejected(f"{scheme}127.0.0.1:{port}").problem


def test_cluster_has_ten_seconds_to_answer() -> None:
    """docs/faults.md promises that a command ends within 15 s, which includes its imports."""
    assert ANSWER_S == 10.0


def test_server_of_another_kind_is_rejected() -> None:
    with grpc_head(grpc.StatusCode.UNIMPLEMENTED) as port:
        assert "UNIMPLEMENTED" in _rejected(f"ray://127.0.0.1:{port}", 10.0).problem


@pytest.mark.parametrize("address", ["nonsense", "", ":"])
def test_text_that_is_no_address_is_rejected(address: str) -> None:
    _rejected(address)
