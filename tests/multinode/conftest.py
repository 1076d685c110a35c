"""One cluster for all tests of a module, and runs on it."""

from collections.abc import Iterator

import pytest

from tests.support.multinode_cluster import Cluster
from tests.support.multinode_launches import Launches
from tests.support.multinode_machines import namespaces_allowed


@pytest.fixture(
    scope="module",
    params=[namespaces_allowed()],
    ids=lambda isolated: "network namespaces" if isolated else "one host",
)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A head and two workers, each with two declared cores; the test's id says what the nodes are."""
    with Cluster(num_workers=2, num_cpus=2, isolated=request.param) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def launches(cluster: Cluster) -> Launches:
    """Small experiments on it."""
    return Launches(cluster)
