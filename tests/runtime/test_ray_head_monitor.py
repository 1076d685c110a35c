"""How the monitor decides that the head of a cluster is lost, and how it reports the loss."""

import socket

import pytest
import ray
from ray.util import client

from orchestrator.errors import ActorsLostError
from orchestrator.runtime import ray_head_monitor
from orchestrator.runtime.ray_head_monitor import HeadMonitor, raylet_address

ADDRESS = "ray://head:10001"


class FakeConnection:
    """The connection of Ray Client."""

    def __init__(self) -> None:
        self.is_up = True


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> FakeConnection:
    fake = FakeConnection()
    monkeypatch.setattr(client.ray, "is_connected", lambda: fake.is_up)
    return fake


def test_head_is_unreachable_as_soon_as_ray_client_disconnects(connection: FakeConnection) -> None:
    head = HeadMonitor(ADDRESS)
    assert (head.address, head.is_unreachable(), head.responds()) == (ADDRESS, False, True)
    connection.is_up = False
    assert (head.is_unreachable(), head.responds()) == (True, False)


@pytest.mark.parametrize(
    "error", [Exception("Ray Client is not connected."), TypeError("None"), ConnectionError()]
)
def test_every_error_of_a_lost_connection_becomes_connection_error(
    connection: FakeConnection, error: Exception
) -> None:
    head = HeadMonitor(ADDRESS)
    connection.is_up = False
    with pytest.raises(ConnectionError) as caught, head.detecting_loss():
        raise error
    assert caught.value.__cause__ is error
    assert head.is_lost
    line = head.loss_message("resume r")
    assert ADDRESS in line
    assert f"({str(error) or 'the connection is closed'})" in line
    assert "`resume r`" in line


def test_loss_without_an_error_has_a_cause_too(connection: FakeConnection) -> None:
    head = HeadMonitor(ADDRESS)
    connection.is_up = False
    assert head.is_unreachable()
    assert "(the connection is closed)" in head.loss_message("resume r")


def test_errors_with_another_cause_are_not_changed(connection: FakeConnection) -> None:
    head = HeadMonitor(ADDRESS)
    with pytest.raises(ray.exceptions.RaySystemError), head.detecting_loss():
        raise ray.exceptions.RaySystemError("full")  # type: ignore[no-untyped-call]
    connection.is_up = False
    with pytest.raises(ActorsLostError), head.detecting_loss():
        raise ActorsLostError("reported already")
    assert not head.is_lost


@pytest.mark.ray
@pytest.mark.usefixtures("local_ray")
class TestRaylet:
    """The raylet of this machine, which a listening socket replaces when it must die."""

    def test_running_raylet_has_an_open_port(self) -> None:
        address = raylet_address()
        assert address is not None
        socket.create_connection(address, timeout=5).close()
        head = HeadMonitor(None)
        assert (head.responds(), head.is_unreachable()) == (True, False)

    def test_closed_port_is_a_loss_at_the_next_check_although_the_head_responds(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            port.listen()
            monkeypatch.setattr(ray_head_monitor, "raylet_address", port.getsockname)
            head = HeadMonitor(None)
            assert head.responds()
        assert not head.responds()
        assert head.is_unreachable()
        line = head.loss_message("resume r")
        assert "raylet" in line
        assert "`resume r`" in line
        assert "\n" not in line

    def test_head_that_dies_with_the_raylet_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The command learns it as soon as the raylet is dead, because Ray ends the command soon."""
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            port.listen()
            monkeypatch.setattr(ray_head_monitor, "raylet_address", port.getsockname)
            head = HeadMonitor(None)
            host, number = port.getsockname()
            head.address = f"{host}:{number}"
            assert head.responds()
        assert not head.responds()
        assert head.is_unreachable()
        assert head.address in head.loss_message("resume r")
