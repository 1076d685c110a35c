"""Settings and fixtures of all tests."""

import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

#: the time of an example has no meaning on a busy machine
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_configure() -> None:
    """A shell that starts the suite in the background ignores Ctrl-C.

    Tests send Ctrl-C, so that it is enabled again.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


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
