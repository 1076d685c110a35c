"""What is told by whether the head is there."""

import pytest
import ray
from ray.util import client

from orchestrator.errors import ActorsLostError
from orchestrator.runtime.ray_head_monitor import Head


class Line:
    """Ray Client's connection."""

    def __init__(self) -> None:
        self.is_up = True


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    played = Line()
    monkeypatch.setattr(client.ray, "is_connected", lambda: played.is_up)
    return played


def test_through_ray_client_it_is_away_as_soon_as_the_connection_is(line: Line) -> None:
    head = Head("ray://there:10001")
    assert (head.address, head.is_away(), head.answers()) == ("ray://there:10001", False, True)
    line.is_up = False
    assert (head.is_away(), head.answers()) == (True, False)


@pytest.mark.parametrize(
    "error", [Exception("Ray Client is not connected."), TypeError("None"), ConnectionError()]
)
def test_whatever_a_lost_connection_raises_is_one_kind_of_error(line: Line, error: Exception) -> None:
    head = Head("ray://there:10001")
    line.is_up = False
    with pytest.raises(ConnectionError, match=str(error) or None), head.noticing():
        raise error
    assert head.is_lost
    assert f"does not answer ({str(error) or 'the connection is closed'}); `resume r` goes on" in head.loss(
        "resume r"
    )


def test_a_loss_that_nothing_failed_of_has_a_cause_too(line: Line) -> None:
    head = Head("ray://there:10001")
    line.is_up = False
    assert head.is_away()
    assert "ray://there:10001, does not answer (the connection is closed); " in head.loss("resume r")


def test_what_has_another_cause_stays_as_it_is(line: Line) -> None:
    head = Head("ray://there:10001")
    with pytest.raises(ray.exceptions.RaySystemError), head.noticing():
        raise ray.exceptions.RaySystemError("full")  # type: ignore[no-untyped-call]
    line.is_up = False
    with pytest.raises(ActorsLostError), head.noticing():
        raise ActorsLostError("and said so")
    assert not head.is_lost
