"""Implement `Cluster` on Ray: read the state API, and join the cluster for calls that only a member can make."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from orchestrator.cluster.jobs import Job
from orchestrator.cluster.ray_jobs import RayJobs, translated_errors
from orchestrator.cluster.view import ActorView, ClusterView, NodeView
from orchestrator.errors import ClusterError
from orchestrator.runtime.ray_session import NAMESPACE

#: most entries that one request to the state API returns
_MAX_ENTRIES = 10_000
#: resources that the view contains; the dashboard changes the names of most others
_SHOWN_RESOURCES = ("CPU", "GPU", "memory")
#: name and namespace of the actor with which Ray supervises a job
_SUPERVISOR, _SUPERVISOR_NAMESPACE = "_ray_internal_job_actor_{}", "SUPERVISOR_ACTOR_RAY_NAMESPACE"


@final
class RayCluster:
    """A cluster that Ray runs (see Cluster)."""

    def __init__(self, address: str) -> None:
        """`address` is the value of `--address`. Raises RequestError if no cluster answers or it rejects the token."""
        self._jobs = RayJobs(address)
        self._member_address = "auto" if address.startswith("http") else address
        self.address = self._jobs.address

    def view(self) -> ClusterView:
        """See Cluster."""
        status = self._jobs.get("/api/cluster_status").get("data") or {}
        report = (status.get("clusterStatus") or {}).get("loadMetricsReport") or {}
        usage = report.get("usageByNode") or {}
        nodes = self._list_entries("nodes")
        actors = self._list_entries("actors", ray_namespace=NAMESPACE)
        return ClusterView(
            address=self.address,
            nodes=tuple(_node(node, usage.get(node["node_id"], {})) for node in nodes),
            actors=tuple(_actor(actor) for actor in actors if actor.get("name") and actor["state"] != "DEAD"),
            jobs=tuple(self._jobs.jobs()),
        )

    def job(self, job_id: str) -> Job:
        """See Jobs."""
        return self._jobs.job(job_id)

    def stop(self, job_id: str) -> None:
        """See Jobs."""
        self._jobs.stop(job_id)

    def stop_run(self, run_id: str) -> None:
        """See Cluster."""
        with self._joined_cluster() as ray:
            ray.get(ray.get_actor(f"{run_id}/driver").stop.remote(), timeout=60)

    def kill_job(self, job_id: str) -> None:
        """See Cluster. Ray kills the processes of a job when the job's supervisor actor dies."""
        with self._joined_cluster() as ray:
            ray.kill(ray.get_actor(_SUPERVISOR.format(job_id), namespace=_SUPERVISOR_NAMESPACE))

    def _list_entries(self, kind: str, **filters: str) -> list[dict[str, Any]]:
        query = "".join(
            f"&filter_keys={key}&filter_predicates=%3D&filter_values={value}"
            for key, value in filters.items()
        )
        data = self._jobs.get(f"/api/v0/{kind}?limit={_MAX_ENTRIES}&detail=0{query}").get("data") or {}
        entries: list[dict[str, Any]] = (data.get("result") or {}).get("result") or []
        return entries

    @contextmanager
    def _joined_cluster(self) -> Iterator[Any]:
        """Join the cluster for calls to an actor. Raises ClusterError on a machine that is not part of the cluster."""
        import ray

        try:
            with translated_errors(self.address):
                joined = ray.init(
                    self._member_address,
                    namespace=NAMESPACE,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
        except ClusterError as error:
            raise ClusterError(
                f"this machine is not part of the cluster at {self.address}; "
                "call the command on a machine of the cluster"
            ) from error
        try:
            self._check_same_cluster(joined)
            yield ray
        except (ray.exceptions.RayError, ValueError) as error:
            raise ClusterError(f"the actor does not answer ({' '.join(str(error).split())[:200]})") from error
        finally:
            ray.shutdown()

    def _check_same_cluster(self, joined: Any) -> None:
        """Raise ClusterError when this machine is part of several clusters and Ray has joined another of them."""
        session = self._jobs.get("/api/version").get("session_name")
        if Path(joined.address_info["session_dir"]).name != session:
            raise ClusterError(
                f"this machine is part of several clusters; give --address host:port of the one at {self.address}"
            )


def _node(node: dict[str, Any], usage: dict[str, Any]) -> NodeView:
    totals = node.get("resources_total") or {}
    alive = node.get("state") == "ALIVE"
    return NodeView(
        node_id=node["node_id"],
        address=node.get("node_ip") or "",
        is_head=bool(node.get("is_head_node")),
        alive=alive,
        resources={
            name: (float(usage[name][0]) if name in usage else None, float(totals[name]))
            for name in _SHOWN_RESOURCES
            if name in totals
        }
        if alive
        else {},
    )


def _actor(actor: dict[str, Any]) -> ActorView:
    return ActorView(
        name=actor["name"],
        state=actor["state"],
        node_id=actor.get("node_id") or "",
        pid=int(actor.get("pid") or 0),
        driver=actor.get("job_id") or "",
    )
