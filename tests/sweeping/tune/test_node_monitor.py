"""The nodes that the node monitor reports as missing. No Ray cluster runs."""

import pytest

from orchestrator.execution.placement import Capacity
from orchestrator.sweeping.tune.node_monitor import CHECK_EVERY_S, NodeMonitor

HEAD = {"CPU": 2.0, "node:10.0.0.1": 1.0, "node:__internal_head__": 1.0}
WORKER = {"CPU": 2.0, "node:10.0.0.2": 1.0}
OTHER = {"CPU": 2.0, "node:10.0.0.3": 1.0}


class FakeCluster:
    """A monitor for a head and a worker with a patience of 60 s; tests set the nodes and the clock."""

    def __init__(self) -> None:
        self.nodes, self.now_s, self.num_queries = [HEAD, WORKER], 0.0, 0
        self.monitor = NodeMonitor(
            Capacity((HEAD, WORKER)), 60.0, capacity=self._query, clock=lambda: self.now_s
        )

    def _query(self) -> Capacity:
        self.num_queries += 1
        return Capacity(tuple(self.nodes))

    def missing(self, at_s: float, *, all_waiting: bool = True) -> list[str]:
        self.now_s = at_s
        return self.monitor.missing_nodes(all_waiting=all_waiting)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def test_absent_node_is_missing_after_the_patience(cluster: FakeCluster) -> None:
    cluster.nodes = [HEAD]
    assert [cluster.missing(at_s) for at_s in (0.0, 30.0, 59.0)] == [[]] * 3
    assert cluster.missing(65.0) == ["10.0.0.2"]


def test_no_node_is_missing_while_all_are_present(cluster: FakeCluster) -> None:
    assert [cluster.missing(at_s) for at_s in (0.0, 100.0, 1e6)] == [[]] * 3


def test_returning_node_is_not_missing_and_restarts_the_patience(cluster: FakeCluster) -> None:
    cluster.nodes = [HEAD]
    assert cluster.missing(0.0) == []
    cluster.nodes = [HEAD, WORKER]
    assert cluster.missing(50.0) == []
    cluster.nodes = [HEAD]
    assert cluster.missing(70.0) == cluster.missing(125.0) == []
    assert cluster.missing(130.0) == ["10.0.0.2"]


def test_new_node_does_not_replace_the_planned_node(cluster: FakeCluster) -> None:
    cluster.nodes = [HEAD, OTHER]
    assert cluster.missing(0.0) == []
    assert cluster.missing(60.0) == ["10.0.0.2"]


def test_node_that_returns_with_fewer_resources_is_missing(cluster: FakeCluster) -> None:
    cluster.nodes = [HEAD, WORKER | {"CPU": 1.0}]
    assert cluster.missing(0.0) == []
    assert cluster.missing(60.0) == ["10.0.0.2"]


def test_patience_starts_when_all_trials_wait(cluster: FakeCluster) -> None:
    cluster.nodes = [HEAD]
    assert cluster.missing(0.0) == []
    assert cluster.missing(50.0, all_waiting=False) == cluster.missing(100.0) == cluster.missing(159.0) == []
    assert cluster.missing(164.0) == ["10.0.0.2"]


def test_monitor_does_not_query_the_cluster_while_trials_run(cluster: FakeCluster) -> None:
    assert [cluster.missing(at_s, all_waiting=False) for at_s in (0.0, 100.0)] == [[]] * 2
    assert cluster.num_queries == 0


def test_monitor_queries_the_cluster_at_intervals(cluster: FakeCluster) -> None:
    for tenth in range(200):
        cluster.missing(tenth / 10)
    assert cluster.num_queries == 20 / CHECK_EVERY_S


def test_one_of_two_nodes_with_the_same_address_is_missing() -> None:
    """`ray.cluster_utils` starts such nodes."""
    monitor = NodeMonitor(
        Capacity((HEAD, WORKER, WORKER)),
        1e-9,
        capacity=lambda: Capacity((HEAD, WORKER)),
        clock=iter([0.0, 9.0]).__next__,
    )
    assert monitor.missing_nodes(all_waiting=True) == []
    assert monitor.missing_nodes(all_waiting=True) == ["10.0.0.2"]


def test_next_pass_monitors_the_present_nodes(cluster: FakeCluster) -> None:
    cluster.nodes = [HEAD]
    assert cluster.missing(0.0) == []
    cluster.monitor.plan(Capacity((HEAD,)))
    assert cluster.missing(100.0) == cluster.missing(200.0) == []
    cluster.monitor.plan(Capacity((HEAD, OTHER)))
    assert cluster.missing(201.0) == cluster.missing(259.0) == []
    assert cluster.missing(264.0) == ["10.0.0.3"]
