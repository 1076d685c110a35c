"""Tables and JSON of `status`: every number in its column, and no name broken on an 80-column terminal."""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, RenderableType

from orchestrator.cli.views.status_tables import cluster_tables, runs_tables, status_json
from orchestrator.cluster.jobs import Job
from orchestrator.cluster.runs import RunStatus
from orchestrator.cluster.view import ClusterView, NodeView
from orchestrator.storage.lock_owner import LockOwner
from tests.support.cluster_fakes import HEAD, actor


def _lines(parts: Iterable[RenderableType], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def _status(name: str, **changes: Any) -> RunStatus:
    usual: dict[str, Any] = {
        "kind": "run",
        "name": name,
        "folder": Path("/shared") / name,
        "state": "finished",
        "method": "feddst",
        "num_done": 20,
        "num_asked": 20,
        "value": 0.98765,
        "holder": None,
        "why": "",
        "changed_s": 1e9,
    }
    return RunStatus(**{**usual, **changes})


RUNS = [
    _status("feddst-20260101-120000-ab12", state="running", num_done=3, holder=LockOwner("gpu-7", 4242)),
    _status("sparsity-20260101-1200-cd", kind="sweep", method="sparsity", num_done=2, num_asked=9, value=0.5),
    _status("[bold]-x", state="failed", value=None, why="RoundError: client 3 could not"),
]
VIEW = ClusterView(
    address="http://head:8265",
    nodes=(
        NodeView(node_id="n3", address="10.0.0.3", is_head=False, alive=False, resources={}),
        HEAD,
    ),
    actors=(
        actor("r/driver"),
        actor("r/client-1"),
        actor("r/client-2", state="PENDING_CREATION"),
        actor("s-000/pool-phone-0", "07000000"),
    ),
    jobs=(
        Job(
            job_id="run-1",
            state="RUNNING",
            driver="02000000",
            entrypoint="exec python -m orchestrator.cluster.job_entry run runtime.storage=/shared",
            started_s=1e9,
        ),
        *(
            Job(job_id=f"old-{number}", state="FAILED", exit_code=2, started_s=1e9, ended_s=1e9 + 75)
            for number in range(9)
        ),
    ),
)


def test_runs_tables_has_a_row_for_each_run_and_says_where_it_runs() -> None:
    lines = _lines(runs_tables(RUNS), 100)
    assert [line.split() for line in lines] == [
        ["run", "state", "done", "accuracy", "method"],
        ["feddst-20260101-120000-ab12", "running", "3/20", "98.77%", "feddst"],
        ["sparsity-20260101-1200-cd", "finished", "2/9", "trials", "best", "0.5", "space", "sparsity"],
        ["[bold]-x", "failed", "20/20", "-", "feddst"],
        [],
        ["feddst-20260101-120000-ab12:", "running", "on", "gpu-7", "pid", "4242"],
        ["[bold]-x:", "RoundError:", "client", "3", "could", "not"],
    ]


def test_cluster_tables_show_nodes_actors_by_run_and_jobs() -> None:
    lines = [line.split() for line in _lines(cluster_tables(VIEW), 140)]
    assert lines[1] == ["Cluster", "at", "http://head:8265"]
    assert lines[3:5] == [
        ["10.0.0.1", "alive", "1.5/8", "-", "?/8", "head"],
        ["10.0.0.3", "dead", "-", "-", "-"],
    ]
    assert lines[6:9] == [
        ["running", "actors", "nodes", "job"],
        ["r", "2", "client,", "1", "driver", "(1", "not", "alive)", "10.0.0.1", "run-1"],
        ["s-000", "1", "pool", "10.0.0.1", "-"],
    ]
    assert lines[10] == ["job", "state", "exit", "took", "command"]
    assert lines[11][:2] == ["run-1", "RUNNING"]
    assert lines[11][-2:] == ["run", "runtime.storage=/shared"]
    assert lines[12:] == [[f"old-{number}", "FAILED", "2", "1:15"] for number in range(5)]


@pytest.mark.parametrize("width", [80, 200])
def test_tables_do_not_break_names(width: int) -> None:
    lines = _lines([*runs_tables(RUNS), *cluster_tables(VIEW)], width)
    assert max(map(len, lines)) <= width
    for name in (*(run.name for run in RUNS), "10.0.0.1", "run-1"):
        assert any(line.startswith(f"{name} ") for line in lines), name


def test_status_json_has_all_data() -> None:
    shown = json.loads(json.dumps(status_json("/shared", RUNS, VIEW)))
    assert [run["name"] for run in shown["runs"]] == [RUNS[0].name, RUNS[2].name]
    assert shown["runs"][0]["holder"] == {"host": "gpu-7", "pid": 4242}
    assert [sweep["num_asked"] for sweep in shown["sweeps"]] == [9]
    assert shown["cluster"]["nodes"][1]["resources"]["CPU"] == [1.5, 8.0]
    assert len(shown["cluster"]["jobs"]) == 10
    assert status_json("/shared", [], None)["cluster"] is None
