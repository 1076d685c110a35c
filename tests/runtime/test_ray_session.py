"""How a command gets to its Ray; what stands in for Ray fails as Ray does."""

from collections.abc import Sequence

import pytest
import ray

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.runtime.ray_session import ray_session

LOST = ConnectionAbortedError("Initialization failure from server:\nZombieProcess: PID still exists")
AWAY = ConnectionError("ray client connection timeout")
CLIENT = RuntimeConfig(address="ray://head:10001")


class Door:
    """Ray's ways in and out: the tries at it end so, the last one as all that follow."""

    def __init__(self, endings: Sequence[Exception | None]) -> None:
        self.endings, self.asked, self.is_open = list(endings), list[str](), False

    def init(self, address: str, **options: object) -> None:
        self.asked.append(address)
        ending = self.endings.pop(0) if len(self.endings) > 1 else self.endings[0]
        if ending is not None:
            raise ending
        self.is_open = True

    def shutdown(self) -> None:
        self.is_open = False


@pytest.fixture
def through(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for name in (
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_USAGE_STATS_ENABLED",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def _door(monkeypatch: pytest.MonkeyPatch, *endings: Exception | None) -> Door:
    door = Door(endings)
    monkeypatch.setattr(ray, "init", door.init)
    monkeypatch.setattr(ray, "shutdown", door.shutdown)
    return door


@pytest.mark.parametrize("num_lost", [0, 1, 3])
def test_a_server_that_dies_at_once_is_asked_again(through: pytest.MonkeyPatch, num_lost: int) -> None:
    door = _door(through, *[LOST] * num_lost, None)
    with ray_session(CLIENT):
        assert door.is_open
    assert (door.is_open, len(door.asked)) == (False, num_lost + 1)


@pytest.mark.parametrize(("error", "num_tries"), [(LOST, 4), (AWAY, 1), (ValueError("no token"), 1)])
def test_what_stays_as_it_is_ends_with_one_line(
    through: pytest.MonkeyPatch, error: Exception, num_tries: int
) -> None:
    door = _door(through, error)
    with pytest.raises(ResourceError) as caught, ray_session(CLIENT):
        pass
    assert door.asked == ["ray://head:10001"] * num_tries
    (line,) = str(caught.value).splitlines()
    assert line.startswith("runtime.address=ray://head:10001: Ray cannot be reached (")
    assert "RAY_AUTH_MODE=token" in line


@pytest.mark.parametrize(("in_a_job", "address"), [(False, "local"), (True, "auto")])
def test_without_an_address_a_job_joins_its_cluster(
    through: pytest.MonkeyPatch, in_a_job: bool, address: str
) -> None:
    if in_a_job:
        through.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    door = _door(through, None)
    with ray_session(RuntimeConfig()):
        assert door.asked == [address]
