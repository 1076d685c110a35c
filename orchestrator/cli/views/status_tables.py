"""What `sparsefleet status` prints: tables of runs, nodes, actors and jobs, or one JSON object with the same data."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.cells import cell_len
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cluster.jobs import Job
from orchestrator.cluster.runs import RunStatus
from orchestrator.cluster.view import ActorView, ClusterView, NodeView
from orchestrator.formatting import format_seconds

_STYLES = {
    "running": "green",
    "RUNNING": "green",
    "alive": "green",
    "finished": "",
    "SUCCEEDED": "",
    "interrupted": "yellow",
    "STOPPED": "yellow",
    "PENDING": "yellow",
    "failed": "red",
    "FAILED": "red",
    "dead": "red",
    "unreadable": "red",
}
#: number of ended jobs that the table shows in addition to the unfinished jobs
_MAX_ENDED_JOBS = 5


def status_json(storage: str, statuses: Sequence[RunStatus], cluster: ClusterView | None) -> dict[str, Any]:
    """Return the JSON object; its `cluster` is null when there is no cluster."""
    return {
        "storage": storage,
        "runs": [_to_json(status) for status in statuses if status.kind == "run"],
        "sweeps": [_to_json(status) for status in statuses if status.kind == "sweep"],
        "cluster": None if cluster is None else asdict(cluster),
    }


def _to_json(status: RunStatus) -> dict[str, Any]:
    return {**asdict(status), "folder": str(status.folder)}


def runs_tables(statuses: Sequence[RunStatus]) -> Iterator[RenderableType]:
    """Yield a table with a row for each run and sweep, then lines: where each one runs, and why others failed."""
    rows = [
        (
            Text(status.name),
            _state(status.state),
            f"{status.num_done}/{status.num_asked}{' trials' if status.kind == 'sweep' else ''}",
            _value(status),
            Text(f"space {status.method}" if status.kind == "sweep" else status.method),
        )
        for status in statuses
    ]
    yield _table(("run", "state", "done", "accuracy", "method"), rows)
    lines = [f"{status.name}: running on {status.holder}" for status in statuses if status.holder]
    lines += [f"{status.name}: {status.why}" for status in statuses if status.why]
    if lines:
        yield Text("\n" + "\n".join(lines))


def _value(status: RunStatus) -> str:
    if status.value is None:
        return "-"
    return f"best {status.value:.4g}" if status.kind == "sweep" else f"{100 * status.value:.2f}%"


def cluster_tables(view: ClusterView) -> Iterator[RenderableType]:
    """Yield the tables of nodes, of actors by run, and of jobs, with a blank line before each table."""
    yield Text(f"\nCluster at {view.address}", style="bold")
    yield _nodes(view.nodes)
    if view.actors:
        yield Text()
        yield _actors(view)
    if view.jobs:
        yield Text()
        yield _jobs(view.jobs)


def _nodes(nodes: Sequence[NodeView]) -> Table:
    rows = [
        (
            Text(node.address),
            _state("alive" if node.alive else "dead"),
            _share(node, "CPU"),
            _share(node, "GPU"),
            _share(node, "memory", 2**30),
            "head" if node.is_head else "",
        )
        for node in sorted(nodes, key=lambda node: (not node.alive, not node.is_head, node.address))
    ]
    return _table(("node", "state", "CPU", "GPU", "memory GiB", ""), rows)


def _share(node: NodeView, resource: str, unit: float = 1.0) -> str:
    if resource not in node.resources:
        return "-"
    used, total = node.resources[resource]
    return f"{'?' if used is None else format(used / unit, '.3g')}/{total / unit:.3g}"


def _actors(view: ClusterView) -> Table:
    """Return a table with one row per run: its number of actors of each kind, and their nodes."""
    addresses = {node.node_id: node.address for node in view.nodes}
    jobs = {job.driver: job.job_id for job in view.jobs if job.driver}
    runs: dict[str, list[ActorView]] = {}
    for actor in view.actors:
        runs.setdefault(actor.run_id, []).append(actor)
    rows = []
    for run_id, actors in sorted(runs.items()):
        roles = Counter(actor.role for actor in actors)
        waiting = sum(actor.state != "ALIVE" for actor in actors)
        counts = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
        nodes = sorted({addresses.get(actor.node_id, "?") for actor in actors if actor.node_id})
        rows.append(
            (
                Text(run_id),
                counts + (f" ({waiting} not alive)" if waiting else ""),
                ", ".join(nodes) if len(nodes) < 3 else f"{len(nodes)} nodes",
                Text(jobs.get(actors[0].driver, "-")),
            )
        )
    return _table(("running", "actors", "nodes", "job"), rows)


def _jobs(jobs: Sequence[Job]) -> Table:
    shown = [job for job in jobs if not job.ended]
    shown += [job for job in jobs if job.ended][:_MAX_ENDED_JOBS]
    rows = []
    for job in shown:
        until_s = job.ended_s or datetime.now().timestamp()
        rows.append(
            (
                Text(job.job_id),
                _state(job.state),
                "" if job.exit_code is None else str(job.exit_code),
                "-" if job.started_s is None else format_seconds(max(0, round(until_s - job.started_s))),
                Text(job.entrypoint.partition(".job_entry ")[2] or job.entrypoint),
            )
        )
    return _table(("job", "state", "exit", "took", "command"), rows)


def _state(state: str) -> Text:
    return Text(state, style=_STYLES.get(state, ""))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]]) -> Table:
    """Return a table whose columns have the width of their content; the last column takes the rest and is cut off."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for number, column in enumerate(columns[:-1]):
        width = max(cell_len(str(cell)) for cell in (column, *(row[number] for row in rows)))
        table.add_column(column, no_wrap=True, width=width)
    table.add_column(columns[-1], overflow="ellipsis", no_wrap=True, ratio=1)
    for row in rows:
        table.add_row(*row)
    return table
