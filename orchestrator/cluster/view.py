"""The state of a cluster at one moment: its nodes, the actors of each run, and its jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cluster.jobs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A machine of the cluster.

    `resources` maps Ray's resource names to (used, total). The used amount is None where Ray does not report it.
    """

    node_id: str
    address: str
    is_head: bool
    alive: bool
    resources: Mapping[str, tuple[float | None, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorView:
    """An actor of a run, named `<run>/driver`, `<run>/client-3` and so on.

    `driver` is Ray's id of the job that the actor belongs to.
    """

    name: str
    state: str
    node_id: str
    pid: int
    driver: str

    @property
    def run_id(self) -> str:
        """The run or the sweep that the actor belongs to."""
        return self.name.partition("/")[0]

    @property
    def role(self) -> str:
        """The actor's role in its run: driver, client, pool, tracker, data and so on."""
        return self.name.partition("/")[2].partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """The state of a cluster, as its dashboard reports it at one moment."""

    address: str
    nodes: tuple[NodeView, ...]
    actors: tuple[ActorView, ...]
    jobs: tuple[Job, ...]


class Cluster(Protocol):
    """The interface to a running cluster: show its state, and stop a run or a job on it."""

    address: str

    def view(self) -> ClusterView:
        """Return the present state of the cluster. Raises ClusterError when the cluster does not answer."""

    def job(self, job_id: str) -> Job:
        """See Jobs."""

    def stop(self, job_id: str) -> None:
        """See Jobs."""

    def stop_run(self, run_id: str) -> None:
        """Ask a run's driver to stop after the round in progress. Raises ClusterError when it cannot be reached."""

    def kill_job(self, job_id: str) -> None:
        """Kill the processes of a job. Raises ClusterError when this machine cannot do so."""
