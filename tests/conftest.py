"""What every test relies on."""

from collections.abc import Iterator

import pytest
import torch


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray belong into one worker, one after another: they need the cores for themselves.

    xdist 3.8 has no effect on pytest 9.2, whose node ids it cannot change: with that pair both workers run some.
    """
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
