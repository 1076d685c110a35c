"""Which cluster a command means, and whether anything is there."""

import socket

from orchestrator.cluster.address import DEFAULT, cluster_address, is_named, listens


def test_what_is_given_counts_before_rays_own_variables() -> None:
    both = {"RAY_ADDRESS": "auto", "RAY_API_SERVER_ADDRESS": "http://head:1"}
    assert cluster_address("http://other:2", both) == "http://other:2"
    assert cluster_address(None, both) == "http://head:1"
    assert cluster_address(None, {"RAY_ADDRESS": "auto"}) == "auto"
    assert cluster_address(None, {"RAY_ADDRESS": ""}) == DEFAULT
    assert [is_named(None, both), is_named("auto", {}), is_named(None, {"RAY_ADDRESS": ""})] == [
        True,
        True,
        False,
    ]


def test_an_address_is_tried_before_anything_waits_for_it() -> None:
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
    assert listens("auto"), "only Ray can follow it"
