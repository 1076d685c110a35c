"""Runs on a cluster of a head and two workers: the same result as in one process, also when nodes die.

The last three tests kill the workers and then the head, so that their order matters.
"""

from dataclasses import dataclass

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.runtime import session
from tests.support.multinode_cluster import Cluster, wait_until
from tests.support.multinode_launches import (
    LONG,
    NUM_CLIENTS,
    Launches,
    Run,
)
from tests.support.sweep_files import digests

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]
NUM_ROUNDS = 15
#: objects of a run that each node takes once: its recipe, its data and its split
NUM_SHARED = 3


@dataclass(frozen=True)
class Observed:
    """A run, and what each node had of it: client actors, and objects that its store took from others' stores."""

    run: Run
    num_actors: list[int]
    num_received: list[int]


@pytest.fixture(scope="module")
def observed(cluster: Cluster, launches: Launches) -> Observed:
    """Six dedicated clients on six cores of three nodes, watched from outside."""
    before = [node.objects_received() for node in cluster.nodes]
    run = launches.run(cluster.head, "auto", f"training.rounds={NUM_ROUNDS}", "runtime.actors=dedicated")
    num_actors: list[int] = []

    def all_are_there() -> bool:
        num_actors[:] = [node.num_client_actors() for node in cluster.nodes]
        return sum(num_actors) == NUM_CLIENTS or run.command.ended()

    wait_until(all_are_there, "all client actors are there", 120)
    assert run.command.wait(120) == 0, run.command.said()
    after = [node.objects_received() for node in cluster.nodes]
    return Observed(run, num_actors, [b - a for a, b in zip(before, after, strict=True)])


@pytest.fixture(scope="module")
def undisturbed(launches: Launches) -> str | None:
    """Digest that a short run ends with."""
    return launches.undisturbed(f"training.rounds={NUM_ROUNDS}")


@pytest.fixture(scope="module")
def long_undisturbed(launches: Launches) -> str | None:
    """Digest that a long run ends with when nothing happens to it."""
    return launches.undisturbed(*LONG)


def test_clients_on_all_nodes_end_where_one_process_ends(observed: Observed, undisturbed: str | None) -> None:
    assert observed.num_actors == [2, 2, 2]
    assert observed.run.params_sha256() == undisturbed


def test_a_node_takes_a_broadcast_once_for_all_its_clients(observed: Observed) -> None:
    """Two clients a node train in each round; a copy for each would make twice the rounds."""
    for num_received in observed.num_received[1:]:
        assert NUM_ROUNDS <= num_received <= NUM_ROUNDS + NUM_SHARED < 2 * NUM_ROUNDS


def test_a_copy_for_each_task_would_be_seen(cluster: Cluster) -> None:
    worker = cluster.workers[0]
    before = worker.objects_received()
    command = cluster.head.python("-m", "tests.support.multinode_copies", 4, worker.name)
    assert command.wait() == 0, command.said()
    assert worker.objects_received() - before == 1 + 4


def test_a_run_from_a_worker(cluster: Cluster, launches: Launches, undisturbed: str | None) -> None:
    pooled = ["runtime.actors=pooled", "runtime.pool_size=2"]
    run = launches.run(cluster.workers[0], cluster.address, f"training.rounds={NUM_ROUNDS}", *pooled)
    assert run.command.wait(120) == 0, run.command.said()
    assert run.params_sha256() == undisturbed


def test_a_worker_that_dies_changes_nothing(
    cluster: Cluster, launches: Launches, long_undisturbed: str | None
) -> None:
    run = launches.run(cluster.head, "auto", *LONG, "runtime.actors=pooled", "runtime.pool_size=3")
    wait_until(lambda: run.num_commits() >= 5 or run.command.ended(), "rounds are committed", 120)
    doomed = max(cluster.workers, key=lambda node: node.num_client_actors())
    assert doomed.num_client_actors() >= 1
    doomed.kill()
    assert run.num_commits() < 120
    assert run.command.wait(180) == 0, run.command.said()
    assert run.params_sha256() == long_undisturbed
    assert run.rounds() == list(range(120))


def test_a_trial_that_waits_for_a_worker_that_dies_is_placed_anew(
    cluster: Cluster, launches: Launches, long_undisturbed: str | None
) -> None:
    """The first trial's devices are on the head alone; the second was given actors on workers too."""
    fleets = [launches.fleet("there", resources={cluster.head.name: 0.1}), launches.fleet("anywhere")]
    overrides = [*LONG, "runtime.restart_timeout_s=3"]
    sweep = launches.sweep(cluster.head, "fleet.name", fleets, *overrides)
    wait_until(lambda: sweep.num_commits(0) >= 5 or sweep.command.ended(), "rounds are committed", 120)
    doomed = [node for node in cluster.workers if node.is_up()]
    for node in doomed:
        node.kill()
    assert sweep.num_commits(0) < 120
    assert sweep.command.wait(400) == 0, sweep.command.said()
    gone = ", ".join(node.address for node in doomed)
    assert f"({gone})" in sweep.command.said()
    assert digests(sweep.store) == {0: long_undisturbed, 1: long_undisturbed}
    assert sweep.store.num_losses() == 0


def test_a_head_that_dies_ends_the_run_which_then_goes_on(
    cluster: Cluster, launches: Launches, long_undisturbed: str | None
) -> None:
    run = launches.run(cluster.head, "auto", *LONG, "runtime.actors=pooled", "runtime.pool_size=2")
    wait_until(lambda: run.num_commits() >= 5 or run.command.ended(), "rounds are committed", 120)
    cluster.head.kill()
    assert run.command.wait(deadline_s=180) == 1
    said = run.command.said()
    assert f"sparsefleet resume {run.folder}" in said.splitlines()[-1]
    assert run.num_commits() < 120

    summary = session.resume(
        run.folder, ["runtime.address=null", "runtime.executor=inprocess"], Progress(quiet=True)
    )

    assert summary.params_sha256 == long_undisturbed
    assert run.rounds() == list(range(120))
