"""Ray's state pages behind `Cluster`, and the two things that only a member of the cluster can do."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

from orchestrator.cluster.jobs import Job
from orchestrator.cluster.ray_jobs import RayJobs, explained
from orchestrator.cluster.view import ActorView, ClusterView, NodeView
from orchestrator.errors import ClusterError
from orchestrator.runtime.ray_session import NAMESPACE

_MOST = 10_000
#: resources that people ask about; the dashboard changes the names of most others
_SHOWN = ("CPU", "GPU", "memory")
#: under which name and where Ray keeps the actor that watches over a job
_SUPERVISOR, _SUPERVISORS = "_ray_internal_job_actor_{}", "SUPERVISOR_ACTOR_RAY_NAMESPACE"


@final
class RayCluster:
    """See Cluster."""

    def __init__(self, address: str) -> None:
        """`address` as `--address` has it. Raises RequestError when no cluster answers there, or not to us."""
        self._jobs, self._member = RayJobs(address), "auto" if address.startswith("http") else address
        self.address = self._jobs.address

    def view(self) -> ClusterView:
        """See Cluster."""
        status = self._jobs.get("/api/cluster_status").get("data") or {}
        report = (status.get("clusterStatus") or {}).get("loadMetricsReport") or {}
        usage = report.get("usageByNode") or {}
        nodes = self._listed("nodes")
        actors = self._listed("actors", ray_namespace=NAMESPACE)
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
        with self._as_member() as ray:
            ray.get(ray.get_actor(f"{run_id}/driver").stop.remote(), timeout=60)

    def kill_job(self, job_id: str) -> None:
        """See Cluster. Ray kills a job's processes when the actor that watches over them is gone."""
        with self._as_member() as ray:
            ray.kill(ray.get_actor(_SUPERVISOR.format(job_id), namespace=_SUPERVISORS))

    def _listed(self, what: str, **filters: str) -> list[dict[str, Any]]:
        words = "".join(
            f"&filter_keys={key}&filter_predicates=%3D&filter_values={value}"
            for key, value in filters.items()
        )
        data = self._jobs.get(f"/api/v0/{what}?limit={_MOST}&detail=0{words}").get("data") or {}
        found: list[dict[str, Any]] = (data.get("result") or {}).get("result") or []
        return found

    @contextmanager
    def _as_member(self) -> Iterator[Any]:
        """Join the cluster, which only its own machines can, for a call to an actor."""
        import ray

        try:
            with explained(self.address):
                joined = ray.init(
                    self._member, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR
                )
        except ClusterError as error:
            raise ClusterError(
                f"this machine is not one of the cluster at {self.address}, which that needs; call it there"
            ) from error
        try:
            self._check_same(joined)
            yield ray
        except (ray.exceptions.RayError, ValueError) as error:
            raise ClusterError(f"the actor does not answer ({' '.join(str(error).split())[:200]})") from error
        finally:
            ray.shutdown()

    def _check_same(self, joined: Any) -> None:
        """Raise ClusterError when Ray has joined another one of several clusters that this machine belongs to."""
        session = self._jobs.get("/api/version").get("session_name")
        if Path(joined.address_info["session_dir"]).name != session:
            raise ClusterError(
                f"this machine is in several clusters; give --address host:port of the one at {self.address}"
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
            for name in _SHOWN
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
