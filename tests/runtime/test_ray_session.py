"""How a command connects to Ray. A fake of `ray.init` raises the errors of Ray."""

import re
import subprocess
import sys
from collections.abc import Sequence

import pytest
import ray

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.errors import ResourceError
from orchestrator.runtime.ray_session import dashboard_note, ray_session

DIED = ConnectionAbortedError("Initialization failure from server:\nZombieProcess: PID still exists")
TIMED_OUT = ConnectionError("ray client connection timeout")
WITH_DASHBOARD = """
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.runtime.ray_session import dashboard_note, ray_session

runtime = RuntimeConfig(dashboard=True)
with ray_session(runtime):
    print(dashboard_note(runtime))
"""
CLIENT = RuntimeConfig(address="ray://head:10001")


class FakeRay:
    """`ray.init` and `ray.shutdown`. Each call of init has the next result; the last result is repeated."""

    def __init__(self, results: Sequence[Exception | None]) -> None:
        self.results, self.addresses, self.is_connected = list(results), list[str](), False

    def init(self, address: str, **options: object) -> None:
        self.addresses.append(address)
        error = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if error is not None:
            raise error
        self.is_connected = True

    def shutdown(self) -> None:
        self.is_connected = False


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    for name in (
        "RAY_JOB_CONFIG_JSON_ENV_VAR",
        "RAY_USAGE_STATS_ENABLED",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO",
    ):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def _fake_ray(monkeypatch: pytest.MonkeyPatch, *results: Exception | None) -> FakeRay:
    fake = FakeRay(results)
    monkeypatch.setattr(ray, "init", fake.init)
    monkeypatch.setattr(ray, "shutdown", fake.shutdown)
    return fake


@pytest.mark.parametrize("num_lost", [0, 1, 3])
def test_connection_is_retried_when_the_client_server_dies(
    environment: pytest.MonkeyPatch, num_lost: int
) -> None:
    fake = _fake_ray(environment, *[DIED] * num_lost, None)
    with ray_session(CLIENT):
        assert fake.is_connected
    assert (fake.is_connected, len(fake.addresses)) == (False, num_lost + 1)


@pytest.mark.parametrize(("error", "num_attempts"), [(DIED, 4), (TIMED_OUT, 1), (ValueError("no token"), 1)])
def test_failed_connection_is_one_line_with_the_remedy(
    environment: pytest.MonkeyPatch, error: Exception, num_attempts: int
) -> None:
    fake = _fake_ray(environment, error)
    with pytest.raises(ResourceError) as caught, ray_session(CLIENT):
        pass
    assert fake.addresses == ["ray://head:10001"] * num_attempts
    assert (caught.value.field, caught.value.value) == ("runtime.address", "ray://head:10001")
    assert "\n" not in str(caught.value)
    assert "RAY_AUTH_MODE=token" in caught.value.remedy


@pytest.mark.parametrize(("in_a_job", "address"), [(False, "local"), (True, "auto")])
def test_job_without_an_address_joins_its_cluster(
    environment: pytest.MonkeyPatch, in_a_job: bool, address: str
) -> None:
    if in_a_job:
        environment.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    fake = _fake_ray(environment, None)
    with ray_session(RuntimeConfig()):
        assert fake.addresses == [address]


class TestDashboardNote:
    """`dashboard_note`."""

    @pytest.mark.parametrize("runtime", [RuntimeConfig(), RuntimeConfig(dashboard=True, address="auto")])
    def test_no_line_without_a_dashboard_of_a_local_ray(self, runtime: RuntimeConfig) -> None:
        assert dashboard_note(runtime) is None

    @pytest.mark.ray
    def test_line_has_the_address_and_the_command_for_the_token(self) -> None:
        """In another process, because this process may be connected to a Ray without a dashboard."""
        done = subprocess.run(
            [sys.executable, "-c", WITH_DASHBOARD], capture_output=True, text=True, timeout=300
        )
        assert re.search(r"http://127\.0\.0\.1:\d+ .*`ray get-auth-token`", done.stdout), done.stderr
