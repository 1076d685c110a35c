"""What every test relies on."""

from collections.abc import Iterator

import pytest
import torch


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests that start Ray run in one worker, one after another: they need the cores for themselves."""
    for item in items:
        if item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> Iterator[None]:
    """One thread, as a client has by default, so that sums have one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A Ray on this machine, as a run would start it."""
    from orchestrator.config import RuntimeConfig
    from orchestrator.runtime.ray_backend import ray_session

    with ray_session(RuntimeConfig()):
        yield
