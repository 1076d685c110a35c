"""One cluster for all tests of a module, and a launcher of runs on it."""

from collections.abc import Iterator

import pytest

from tests.support.multinode_cluster import MultinodeCluster
from tests.support.multinode_launches import ClusterLauncher
from tests.support.multinode_machines import namespaces_allowed


@pytest.fixture(
    scope="module",
    params=[namespaces_allowed()],
    ids=lambda isolated: "network namespaces" if isolated else "one host",
)
def cluster(request: pytest.FixtureRequest) -> Iterator[MultinodeCluster]:
    """A head and two workers with two declared cores each; the test id tells whether nodes are isolated."""
    with MultinodeCluster(num_workers=2, num_cpus=2, isolated=request.param) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def launcher(cluster: MultinodeCluster) -> ClusterLauncher:
    """Starts small experiments on the cluster."""
    return ClusterLauncher(cluster)
