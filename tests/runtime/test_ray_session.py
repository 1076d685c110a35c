"""How a command connects to Ray. A fake of `ray.init` raises the errors of Ray."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest
import ray

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.display.run_progress import Progress
from orchestrator.errors import AddressError, ClusterError, ConfigError
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from orchestrator.runtime.ray_session import dashboard_note, ray_session
from tests.support.command import QUICK
from tests.support.command_process import CommandProcess
from tests.support.endings import process_name
from tests.support.grpc_head import grpc_head

DIED = ConnectionAbortedError("Initialization failure from server:\nZombieProcess: PID still exists")
TIMED_OUT = ConnectionError("ray client connection timeout")
WITH_DASHBOARD = """
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.runtime.ray_session import dashboard_note, ray_session

runtime = RuntimeConfig(dashboard=True)
with ray_session(runtime):
    print(dashboard_note(runtime))
"""


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


@pytest.fixture
def head() -> Iterator[RuntimeConfig]:
    """A run on a cluster whose head answers."""
    with grpc_head() as port:
        yield RuntimeConfig(address=f"ray://127.0.0.1:{port}")


def _fake_ray(monkeypatch: pytest.MonkeyPatch, *results: Exception | None) -> FakeRay:
    fake = FakeRay(results)
    monkeypatch.setattr(ray, "init", fake.init)
    monkeypatch.setattr(ray, "shutdown", fake.shutdown)
    return fake


@pytest.mark.parametrize("num_lost", [0, 1, 3])
def test_connection_is_retried_when_the_client_server_dies(
    environment: pytest.MonkeyPatch, head: RuntimeConfig, num_lost: int
) -> None:
    fake = _fake_ray(environment, *[DIED] * num_lost, None)
    with ray_session(head):
        assert fake.is_connected
    assert (fake.is_connected, len(fake.addresses)) == (False, num_lost + 1)


@pytest.mark.parametrize(("error", "num_attempts"), [(DIED, 4), (TIMED_OUT, 1), (ValueError("no token"), 1)])
def test_failed_connection_is_one_line_with_the_remedy(
    environment: pytest.MonkeyPatch, head: RuntimeConfig, error: Exception, num_attempts: int
) -> None:
    fake = _fake_ray(environment, error)
    with pytest.raises(AddressError) as caught, ray_session(head):
        pass
    assert fake.addresses == [head.address] * num_attempts
    assert (caught.value.field, caught.value.value) == ("runtime.address", head.address)
    assert "\n" not in str(caught.value)
    assert "RAY_AUTH_MODE=token" in caught.value.remedy


@pytest.mark.parametrize(("in_a_job", "address"), [(False, "local"), (True, "auto")])
def test_job_without_an_address_joins_its_cluster(
    environment: pytest.MonkeyPatch, head: RuntimeConfig, in_a_job: bool, address: str
) -> None:
    if in_a_job:
        environment.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
        environment.setenv("RAY_ADDRESS", str(head.address))
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


@pytest.mark.parametrize(
    "error", [Exception("The current node timed out during startup."), RuntimeError("GCS died"), DIED]
)
def test_local_ray_that_does_not_start_is_a_cluster_error(
    environment: pytest.MonkeyPatch, error: Exception
) -> None:
    _fake_ray(environment, error)
    with pytest.raises(ClusterError) as caught, ray_session(RuntimeConfig()):
        pass
    assert str(error).splitlines()[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_run_without_a_started_ray_leaves_no_folder(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _fake_ray(environment, RuntimeError("GCS died"))
    config = load_config(None, ["tracking.enabled=false", f"runtime.storage={tmp_path / 'runs'}"])
    with pytest.raises(ClusterError):
        session.run(config, Progress(quiet=True))
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_temporary_folder_that_ray_cannot_use_is_named_with_its_variable(
    tmp_path: Path, variable: str
) -> None:
    """Sockets have paths of at most 107 bytes. Ray itself raises the error, in a process that has no Ray yet."""
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "RAY_TMPDIR"}
    command = CommandProcess(
        ["run", "runtime.executor=ray", "tracking.enabled=false", f"runtime.storage={tmp_path / 'runs'}"],
        environment=environment | {variable: str(folder)},
    )
    output = command.rest(timeout_s=300)
    assert command.process.returncode == 2
    assert output.splitlines()[-1].startswith(f"error: {variable}={folder}: ")


@pytest.mark.ray
def test_head_killed_during_start_is_reported_in_one_line(tmp_path: Path) -> None:
    process = CommandProcess(["run", *QUICK, "runtime.executor=ray", f"runtime.storage={tmp_path / 'runs'}"])
    heads: list[psutil.Process] = []

    def has_head() -> bool:
        children = psutil.Process(process.process.pid).children(recursive=True)
        heads.extend(child for child in children if process_name(child).startswith("gcs_server"))
        return bool(heads)

    process.wait_until(has_head)
    heads[0].kill()
    *steps, line = filter(None, process.rest(timeout_s=300).splitlines())
    assert not any("error" in step for step in steps)
    assert process.process.returncode == 1
    assert line.startswith("error: Ray did not start on this machine ")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.ray
def test_connection_of_the_user_to_another_cluster_is_rejected(local_ray: None) -> None:
    connected = ray.get_runtime_context().gcs_address
    for address in (connected, f"another-name:{connected.rpartition(':')[2]}", "auto", None):
        with ray_session(RuntimeConfig(address=address)):
            assert ray.is_initialized()
    with pytest.raises(ConfigError) as caught, ray_session(RuntimeConfig(address="127.0.0.1:9")):
        pass
    assert (caught.value.field, caught.value.value) == ("runtime.address", "127.0.0.1:9")
    assert connected in caught.value.problem
    assert ray.is_initialized()
