"""Runs on a cluster with a head and two workers give the result of one process, also when nodes die.

The order of the last three tests matters, because they kill the workers and then the head.
"""

from dataclasses import dataclass

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.runtime import session
from tests.support.multinode_cluster import MultinodeCluster, wait_until
from tests.support.multinode_launches import (
    LONG,
    NUM_CLIENTS,
    ClusterLauncher,
    ClusterRun,
)
from tests.support.sweep_files import digests

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
NUM_ROUNDS = 15
#: objects of a run that each node receives once: config, data and partition
NUM_SHARED = 3


@dataclass(frozen=True)
class ObservedRun:
    """A run, with the number of client actors and of received objects on each node."""

    run: ClusterRun
    num_actors: list[int]
    num_received: list[int]


@pytest.fixture(scope="module")
def observed(cluster: MultinodeCluster, launcher: ClusterLauncher) -> ObservedRun:
    """A run of six dedicated clients on six cores of three nodes."""
    before = [node.objects_received() for node in cluster.nodes]
    run = launcher.run(cluster.head, "auto", f"training.rounds={NUM_ROUNDS}", "runtime.actors=dedicated")
    num_actors: list[int] = []

    def all_actors_run() -> bool:
        num_actors[:] = [node.num_client_actors() for node in cluster.nodes]
        return sum(num_actors) == NUM_CLIENTS or run.command.ended()

    wait_until(all_actors_run, "all client actors run", 120)
    assert run.command.wait(120) == 0, run.command.output()
    after = [node.objects_received() for node in cluster.nodes]
    return ObservedRun(run, num_actors, [b - a for a, b in zip(before, after, strict=True)])


@pytest.fixture(scope="module")
def digest(launcher: ClusterLauncher) -> str | None:
    """Digest of the short run without faults."""
    return launcher.digest_without_faults(f"training.rounds={NUM_ROUNDS}")


@pytest.fixture(scope="module")
def long_digest(launcher: ClusterLauncher) -> str | None:
    """Digest of the long run without faults."""
    return launcher.digest_without_faults(*LONG)


def test_clients_on_all_nodes_give_the_result_of_one_process(
    observed: ObservedRun, digest: str | None
) -> None:
    assert observed.num_actors == [2, 2, 2]
    assert observed.run.params_sha256() == digest


def test_node_receives_a_broadcast_once_for_all_its_clients(observed: ObservedRun) -> None:
    """Two clients train on each node in each round; one copy for each client would double the count."""
    for num_received in observed.num_received[1:]:
        assert NUM_ROUNDS <= num_received <= NUM_ROUNDS + NUM_SHARED < 2 * NUM_ROUNDS


def test_received_objects_include_each_copy(cluster: MultinodeCluster) -> None:
    worker = cluster.workers[0]
    before = worker.objects_received()
    command = cluster.head.python("-m", "tests.support.multinode_copies", 4, worker.name)
    assert command.wait() == 0, command.output()
    assert worker.objects_received() - before == 1 + 4


def test_run_can_be_started_on_a_worker(
    cluster: MultinodeCluster, launcher: ClusterLauncher, digest: str | None
) -> None:
    pooled = ["runtime.actors=pooled", "runtime.pool_size=2"]
    run = launcher.run(cluster.workers[0], cluster.address, f"training.rounds={NUM_ROUNDS}", *pooled)
    assert run.command.wait(120) == 0, run.command.output()
    assert run.params_sha256() == digest


def test_lost_worker_does_not_change_the_result(
    cluster: MultinodeCluster, launcher: ClusterLauncher, long_digest: str | None
) -> None:
    """The worker has an aggregator. The aggregators lie on different nodes."""
    actors = ["runtime.actors=pooled", "runtime.pool_size=3", "runtime.aggregators=2"]
    run = launcher.run(cluster.head, "auto", *LONG, *actors)
    wait_until(lambda: run.num_commits() >= 5 or run.command.ended(), "rounds are committed", 120)
    num_aggregators = [node.num_aggregators() for node in cluster.nodes]
    assert sorted(num_aggregators) == [0, 1, 1]
    doomed = cluster.nodes[num_aggregators.index(1, 1)]
    doomed.kill()
    assert run.num_commits() < 120
    assert run.command.wait(180) == 0, run.command.output()
    assert run.params_sha256() == long_digest
    assert run.rounds() == list(range(120))


def test_trial_that_waits_for_a_lost_worker_gets_a_new_placement(
    cluster: MultinodeCluster, launcher: ClusterLauncher, long_digest: str | None
) -> None:
    """The first trial runs on the head only; the second trial was placed on workers too."""
    fleets = [launcher.fleet("there", resources={cluster.head.name: 0.1}), launcher.fleet("anywhere")]
    overrides = [*LONG, "runtime.restart_timeout_s=3"]
    sweep = launcher.sweep(cluster.head, "fleet.name", fleets, *overrides)
    wait_until(lambda: sweep.num_commits(0) >= 5 or sweep.command.ended(), "rounds are committed", 120)
    doomed = [node for node in cluster.workers if node.is_up()]
    for node in doomed:
        node.kill()
    assert sweep.num_commits(0) < 120
    assert sweep.command.wait(400) == 0, sweep.command.output()
    gone = ", ".join(node.address for node in doomed)
    assert f"({gone})" in sweep.command.output()
    assert digests(sweep.store) == {0: long_digest, 1: long_digest}
    assert sweep.store.num_losses() == 0


def test_lost_head_ends_the_run_which_can_be_resumed(
    cluster: MultinodeCluster, launcher: ClusterLauncher, long_digest: str | None
) -> None:
    run = launcher.run(cluster.head, "auto", *LONG, "runtime.actors=pooled", "runtime.pool_size=2")
    wait_until(lambda: run.num_commits() >= 5 or run.command.ended(), "rounds are committed", 120)
    cluster.head.kill()
    assert run.command.wait(deadline_s=180) == 1
    last_line = run.command.output().splitlines()[-1]
    assert f"sparsefleet resume {run.folder}" in last_line
    assert run.num_commits() < 120

    summary = session.resume(
        run.folder, ["runtime.address=null", "runtime.executor=inprocess"], Progress(quiet=True)
    )

    assert summary.params_sha256 == long_digest
    assert run.rounds() == list(range(120))
