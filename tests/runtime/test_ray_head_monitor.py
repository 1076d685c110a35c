"""How the monitor decides that the head of a cluster is lost, and how it reports the loss."""

import pytest
import ray
from ray.util import client

from orchestrator.errors import ActorsLostError
from orchestrator.runtime.ray_head_monitor import HeadMonitor

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
