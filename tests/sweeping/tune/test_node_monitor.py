"""When trials wait for a node that has gone; no Ray runs."""

import pytest

from orchestrator.execution.placement import Capacity
from orchestrator.sweeping.tune.node_monitor import EVERY_S, NodeMonitor

HEAD = {"CPU": 2.0, "node:10.0.0.1": 1.0, "node:__internal_head__": 1.0}
WORKER = {"CPU": 2.0, "node:10.0.0.2": 1.0}
OTHER = {"CPU": 2.0, "node:10.0.0.3": 1.0}


class Cluster:
    """A room planned on a head and a worker, with a patience of 60 s, on a cluster and a clock that a test sets."""

    def __init__(self) -> None:
        self.nodes, self.now_s, self.num_looks = [HEAD, WORKER], 0.0, 0
        self.room = NodeMonitor(Capacity((HEAD, WORKER)), 60.0, capacity=self._look, clock=lambda: self.now_s)

    def _look(self) -> Capacity:
        self.num_looks += 1
        return Capacity(tuple(self.nodes))

    def gone(self, at_s: float, *, wanted: bool = True) -> list[str]:
        self.now_s = at_s
        return self.room.gone(wanted=wanted)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_node_that_stays_away_is_gone_after_the_patience(cluster: Cluster) -> None:
    cluster.nodes = [HEAD]
    assert [cluster.gone(at_s) for at_s in (0.0, 30.0, 59.0)] == [[]] * 3
    assert cluster.gone(65.0) == ["10.0.0.2"]


def test_with_all_nodes_there_trials_may_wait_for_ever(cluster: Cluster) -> None:
    assert [cluster.gone(at_s) for at_s in (0.0, 100.0, 1e6)] == [[]] * 3


def test_one_that_comes_back_in_time_is_not_gone_and_has_all_the_patience_again(cluster: Cluster) -> None:
    cluster.nodes = [HEAD]
    assert cluster.gone(0.0) == []
    cluster.nodes = [HEAD, WORKER]
    assert cluster.gone(50.0) == []
    cluster.nodes = [HEAD]
    assert cluster.gone(70.0) == cluster.gone(125.0) == []
    assert cluster.gone(130.0) == ["10.0.0.2"]


def test_another_node_is_not_the_one_that_was_planned_on(cluster: Cluster) -> None:
    cluster.nodes = [HEAD, OTHER]
    assert cluster.gone(0.0) == []
    assert cluster.gone(60.0) == ["10.0.0.2"]


def test_one_that_comes_back_with_less_is_another(cluster: Cluster) -> None:
    cluster.nodes = [HEAD, WORKER | {"CPU": 1.0}]
    assert cluster.gone(0.0) == []
    assert cluster.gone(60.0) == ["10.0.0.2"]


def test_the_patience_begins_when_trials_wait_and_none_is_at_work(cluster: Cluster) -> None:
    cluster.nodes = [HEAD]
    assert cluster.gone(0.0) == []
    assert cluster.gone(50.0, wanted=False) == cluster.gone(100.0) == cluster.gone(159.0) == []
    assert cluster.gone(164.0) == ["10.0.0.2"]


def test_while_trials_are_at_work_nobody_asks(cluster: Cluster) -> None:
    assert [cluster.gone(at_s, wanted=False) for at_s in (0.0, 100.0)] == [[]] * 2
    assert cluster.num_looks == 0


def test_the_cluster_is_looked_at_now_and_then(cluster: Cluster) -> None:
    for tenth in range(200):
        cluster.gone(tenth / 10)
    assert cluster.num_looks == 20 / EVERY_S


def test_of_two_nodes_at_one_address_one_may_go() -> None:
    """As `ray.cluster_utils` starts them."""
    room = NodeMonitor(
        Capacity((HEAD, WORKER, WORKER)),
        1e-9,
        capacity=lambda: Capacity((HEAD, WORKER)),
        clock=iter([0.0, 9.0]).__next__,
    )
    assert room.gone(wanted=True) == []
    assert room.gone(wanted=True) == ["10.0.0.2"]


def test_another_pass_is_planned_on_what_is_there_then(cluster: Cluster) -> None:
    cluster.nodes = [HEAD]
    assert cluster.gone(0.0) == []
    cluster.room.plan(Capacity((HEAD,)))
    assert cluster.gone(100.0) == cluster.gone(200.0) == []
    cluster.room.plan(Capacity((HEAD, OTHER)))
    assert cluster.gone(201.0) == cluster.gone(259.0) == []
    assert cluster.gone(264.0) == ["10.0.0.3"]
