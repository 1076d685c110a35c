"""The state of a cluster, read from a dashboard whose pages the test writes."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import ray

from orchestrator.cluster.ray_cluster import RayCluster
from orchestrator.cluster.view import ActorView, NodeView

GIB = 2.0**30
HEAD = {
    "node_id": "n1",
    "node_ip": "10.0.0.1",
    "is_head_node": True,
    "state": "ALIVE",
    "resources_total": {"CPU": 8.0, "memory": 16 * GIB, "node:10.0.0.1": 1.0},
}
LOST = {"node_id": "n2", "node_ip": None, "state": "DEAD", "resources_total": {"CPU": 4.0}}
DRIVER = {"name": "run-1/driver", "state": "ALIVE", "node_id": "n1", "pid": 7, "job_id": "02000000"}
PENDING = {"name": "run-1/pool-0", "state": "PENDING_CREATION", "node_id": None, "pid": None, "job_id": None}
DEAD = {"name": "run-1/client-3", "state": "DEAD", "node_id": "n2", "pid": 8, "job_id": "02000000"}
NAMELESS = {"name": "", "state": "ALIVE", "node_id": "n1", "pid": 9, "job_id": "02000000"}


def _listed(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"data": {"result": {"result": entries}}}


PAGES: dict[str, Any] = {
    "/api/version": {"version": "4", "ray_version": ray.__version__, "ray_commit": "c"},
    "/api/jobs/": [],
    "/api/cluster_status": {
        "data": {"clusterStatus": {"loadMetricsReport": {"usageByNode": {"n1": {"CPU": [1.5, 8.0]}}}}}
    },
    "/api/v0/nodes": _listed([HEAD, LOST]),
    "/api/v0/actors": _listed([DRIVER, PENDING, DEAD, NAMELESS]),
}


@contextmanager
def dashboard(pages: dict[str, Any]) -> Iterator[str]:
    """Serve these pages on a free loopback port, and yield the address; other paths are not found."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            content = json.dumps(page).encode()
            self.send_response(404 if page is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dashboard asks for no token; a Ray of an earlier test has set one."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_view_has_nodes_with_their_use_and_living_named_actors() -> None:
    """Ray reports the use of the head's CPU only; a lost node offers nothing."""
    with dashboard(PAGES) as address:
        view = RayCluster(address).view()
    assert view.address == address
    assert view.nodes == (
        NodeView(
            node_id="n1",
            address="10.0.0.1",
            is_head=True,
            alive=True,
            resources={"CPU": (1.5, 8.0), "memory": (None, 16 * GIB)},
        ),
        NodeView(node_id="n2", address="", is_head=False, alive=False, resources={}),
    )
    assert view.actors == (
        ActorView(name="run-1/driver", state="ALIVE", node_id="n1", pid=7, driver="02000000"),
        ActorView(name="run-1/pool-0", state="PENDING_CREATION", node_id="", pid=0, driver=""),
    )
    assert view.jobs == ()


def test_pages_that_this_version_of_ray_does_not_have_count_as_empty() -> None:
    pages = {path: PAGES[path] for path in ("/api/version", "/api/jobs/")}
    with dashboard(pages) as address:
        view = RayCluster(address).view()
    assert (view.nodes, view.actors, view.jobs) == ((), (), ())
