"""Which cluster a command uses, and whether a server listens at its address."""

import socket

from orchestrator.cluster.address import DEFAULT_ADDRESS, cluster_address, is_configured, listens


def test_given_address_takes_precedence_over_rays_variables() -> None:
    both = {"RAY_ADDRESS": "auto", "RAY_API_SERVER_ADDRESS": "http://head:1"}
    assert cluster_address("http://other:2", both) == "http://other:2"
    assert cluster_address(None, both) == "http://head:1"
    assert cluster_address(None, {"RAY_ADDRESS": "auto"}) == "auto"
    assert cluster_address(None, {"RAY_ADDRESS": ""}) == DEFAULT_ADDRESS


def test_address_is_configured_by_option_or_nonempty_variable() -> None:
    assert is_configured("auto", {})
    assert is_configured(None, {"RAY_ADDRESS": "auto"})
    assert not is_configured(None, {"RAY_ADDRESS": ""})


def test_listens_connects_to_host_and_port() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        port = server.getsockname()[1]
        assert not listens(f"http://127.0.0.1:{port}")
        server.listen()
        assert listens(f"http://127.0.0.1:{port}/a/page")
        assert listens(f"127.0.0.1:{port}")
        assert listens(f"ray://127.0.0.1:{port}")
    assert not listens(f"127.0.0.1:{port}")
    assert not listens("http://127.0.0.1:no-number")
    assert listens("auto"), "only Ray can resolve `auto`"
