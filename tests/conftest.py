"""Settings and fixtures of all tests."""

import os
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

#: the time of an example has no meaning on a busy machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


#: MLflow's own settings; those of the user's shell must not reach a test
MLFLOW_VARIABLES = (
    "MLFLOW_TRACKING_URI",
    "MLFLOW_EXPERIMENT_NAME",
    "MLFLOW_EXPERIMENT_ID",
    "MLFLOW_RUN_ID",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
)


def pytest_configure() -> None:
    """Remove MLflow's settings of the shell, and let tests send Ctrl-C.

    A suite that a shell started in the background inherits that Ctrl-C is ignored.
    """
    _forget_mlflow_settings()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, because tests of commands often wait for processes that start."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the files with tests that start Ray first: a long file that starts last would run alone."""
    starts_ray = {item.path for item in items if item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in starts_ray)


def _forget_mlflow_settings() -> None:
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None and mlflow.is_tracking_uri_set():
        mlflow.set_tracking_uri(None)
    for name in MLFLOW_VARIABLES:
        os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _no_mlflow_settings() -> Iterator[None]:
    """Remove what a test has set in MLflow, so that the next test does not track its runs there."""
    yield
    _forget_mlflow_settings()


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """One torch thread, as a client has by default, so that sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A local Ray, started as a run starts it."""
    from orchestrator.config.runtime import RuntimeConfig
    from orchestrator.runtime.ray_session import ray_session

    with ray_session(RuntimeConfig()):
        yield


@pytest.fixture
def own_ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of this test for Ray's sessions. Other tests start Ray as users do, in a folder that others can read."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # a short path, for sockets
        monkeypatch.setenv("RAY_TMPDIR", folder)
        yield
