"""A cluster as it stands: its nodes, the actors of each run on it, and its jobs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cluster.jobs import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A machine of the cluster; `resources` are Ray's names -> (used, total), used None where it is not known."""

    node_id: str
    address: str
    is_head: bool
    alive: bool
    resources: Mapping[str, tuple[float | None, float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorView:
    """One of our actors, `<run>/driver`, `<run>/client-3`, ...; `driver` is the id of the job that it belongs to."""

    name: str
    state: str
    node_id: str
    pid: int
    driver: str

    @property
    def run_id(self) -> str:
        """The run or sweep that it works for."""
        return self.name.partition("/")[0]

    @property
    def role(self) -> str:
        """What it is for its run: driver, client, pool, tracker, data, ..."""
        return self.name.partition("/")[2].partition("-")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterView:
    """What a cluster's dashboard told at one moment."""

    address: str
    nodes: tuple[NodeView, ...]
    actors: tuple[ActorView, ...]
    jobs: tuple[Job, ...]


class Cluster(Protocol):
    """A cluster that can be looked at, and on which a run or a job can be ended."""

    address: str

    def view(self) -> ClusterView:
        """How it stands now. Raises ClusterError when it does not answer."""

    def job(self, job_id: str) -> Job:
        """See Jobs."""

    def stop(self, job_id: str) -> None:
        """See Jobs."""

    def stop_run(self, run_id: str) -> None:
        """Ask a run's driver to end after the round in progress. Raises ClusterError where it cannot be asked."""

    def kill_job(self, job_id: str) -> None:
        """End a job at once. Raises ClusterError where that cannot be done from here."""
