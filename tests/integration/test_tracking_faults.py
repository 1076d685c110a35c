"""A real MLflow server behind a proxy that drops requests, rejects them, or loses their answers."""

import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from typing import Literal

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.display.run_progress import Progress
from orchestrator.runtime import session
from orchestrator.tracking.presentation.metric_names import mlflow_metric
from orchestrator.tracking.record import read_records
from tests.support.mlflow_server import MlflowServer
from tests.support.ray_runs import MakeConfig

QUIET = Progress(quiet=True)
Fault = Literal["away", "error", "lost answer", "late", "none"]
#: the request that creates an MLflow run
CREATE = "POST runs/create"
#: the kind of a request with a batch of metrics
METRICS = "POST runs/log-batch metrics"
#: seconds that the proxy waits for another request
_LATE_S = 60.0


def request_body(handler: BaseHTTPRequestHandler) -> Iterator[bytes]:
    """Yield the parts of a request's body."""
    if "chunked" not in handler.headers.get("Transfer-Encoding", ""):
        yield handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        return
    while size := int(handler.rfile.readline(), 16):
        yield handler.rfile.read(size)
        handler.rfile.readline()


def forward(handler: BaseHTTPRequestHandler, body: bytes, port: int, *, is_answered: bool) -> None:
    """Let the server at a port execute a request; give the client the answer only if `is_answered`."""
    upstream = HTTPConnection("127.0.0.1", port, timeout=60)
    dropped = ("transfer-encoding", "content-length")
    headers = {k: v for k, v in handler.headers.items() if k.lower() not in dropped}
    upstream.request(handler.command, handler.path, body, headers)
    answer = upstream.getresponse()
    content = answer.read()
    upstream.close()
    if is_answered:
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.headers.get("Content-Type", ""))
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)


class FaultyProxy:
    """A proxy in front of the server. `fault` decides what happens to the next request of a kind."""

    def __init__(self, server_port: int) -> None:
        self.fault: Callable[[str], Fault] = lambda kind: "none"
        self.seen: list[tuple[str, Fault]] = []
        self.answered: defaultdict[str, threading.Event] = defaultdict(threading.Event)
        proxy, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def handle_any(self) -> None:
                body = b"".join(request_body(self))
                fault: Fault = "none"
                kind = self.path
                if self.path != "/health":
                    with lock:
                        kind = kind_of(self.command, self.path, body)
                        fault = proxy.fault(kind)
                        proxy.seen.append((kind, fault))
                if fault == "away":
                    return
                if fault == "error":
                    self.send_error(503)
                    return
                if fault == "late":  # the server gets the request after the client's next attempt
                    proxy.answered[kind].wait(_LATE_S)
                forward(self, body, server_port, is_answered=fault == "none")
                proxy.answered[kind if fault == "none" else f"{kind} {fault}"].set()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                """Print nothing."""

        self._proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._proxy.daemon_threads = True
        threading.Thread(target=self._proxy.serve_forever, daemon=True).start()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._proxy.server_address[1]}"

    def close(self) -> None:
        self._proxy.shutdown()
        self._proxy.server_close()


@pytest.fixture(scope="module")
def server_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """`mlflow server` on a port of this machine."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    server.start()
    yield server.port
    server.kill()


@pytest.fixture
def proxy(server_port: int) -> Iterator[FaultyProxy]:
    started = FaultyProxy(server_port)
    yield started
    started.close()


def kind_of(method: str, path: str, body: bytes) -> str:
    """Return the kind of a request: its method, the end of its path, and the parts of a batch."""
    end = "/".join(path.partition("?")[0].split("/")[-2:])
    batch = json.loads(body) if end == "runs/log-batch" else {}
    return " ".join([method, end, *(part for part in ("metrics", "params", "tags") if batch.get(part))])


def away_for_a_while() -> Callable[[str], Fault]:
    """Drop four requests, starting with the first batch of metrics: the sink makes four attempts."""
    dropped = list[str]()

    def fault(kind: str) -> Fault:
        if dropped or kind == METRICS:
            dropped.append(kind)
        return "away" if 1 <= len(dropped) <= 4 else "none"

    return fault


def each_kind() -> Callable[[str], Fault]:
    """Lose the answer of the first writing request of each kind, and reject the second one.

    Some requests that read, or that upload files, fail at the first attempt.
    """
    first: Iterator[Fault] = cycle(("error", "none", "none", "away", "none", "none", "lost answer"))
    left: dict[str, list[Fault]] = {}

    def fault(kind: str) -> Fault:
        if kind not in left:
            left[kind] = [next(first)] if kind.startswith(("GET", "PUT")) else ["error", "lost answer"]
        return left[kind].pop() if left[kind] else "none"

    return fault


@pytest.mark.parametrize(
    ("fault", "of_metrics"), [(away_for_a_while, ["away"] * 4), (each_kind, ["lost answer", "error"])]
)
def test_every_record_is_delivered_exactly_once(
    make_config: MakeConfig,
    proxy: FaultyProxy,
    server_port: int,
    tmp_path: Path,
    fault: Callable[[], Callable[[str], Fault]],
    of_metrics: list[Fault],
) -> None:
    proxy.fault = fault()
    summary = session.run(
        make_config(
            "runtime.executor=inprocess",
            "training.rounds=12",
            "training.eval_every=1",
            "tracking.enabled=true",
            f"tracking.uri={proxy.uri}",
            "tracking.flush_timeout_s=300",
        ),
        QUIET,
    )
    assert [seen for kind, seen in proxy.seen if kind == METRICS and seen != "none"] == of_metrics
    assert sum(seen != "none" for _, seen in proxy.seen) >= 4

    client = MlflowClient(f"http://127.0.0.1:{server_port}")
    (run,) = [
        found
        for experiment in client.search_experiments()
        for found in client.search_runs([experiment.experiment_id])
        if found.info.run_name == summary.run_id
    ]
    noted = json.loads((tmp_path / summary.run_id / "tracking.json").read_text())
    assert noted["mlflow_run_id"] == run.info.run_id
    assert run.info.status == "FINISHED"
    records = read_records(tmp_path / summary.run_id / "metrics.jsonl")
    for name in {name for record in records for name in record.metrics}:
        sent = [(r.round_idx, r.metrics[name]) for r in records if name in r.metrics]
        history = client.get_metric_history(run.info.run_id, mlflow_metric(name))
        kept = [(point.step, point.value) for point in history]
        assert sorted(kept) == sorted(sent) or (kept == [] and not any(value for _, value in sent)), name
    assert run.data.metrics["accuracy"] == summary.accuracy
    assert len(client.get_metric_history(run.info.run_id, "accuracy")) == 1
    assert "### Result" in run.data.tags["mlflow.note.content"]
    assert len(run.inputs.dataset_inputs) == 2
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"config.yaml", "curves.png"}
    (model,) = client.search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'")
    assert model.status == "READY"
    assert [output.model_id for output in client.get_run(run.info.run_id).outputs.model_outputs] == [
        model.model_id
    ]


def test_late_answer_to_create_leaves_one_mlflow_run(
    make_config: MakeConfig, proxy: FaultyProxy, server_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gives up after five seconds, and the server creates the run after the client's second attempt."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    faults: Iterator[Fault] = iter(["late"])

    def fault(kind: str) -> Fault:
        if kind == METRICS:  # the late run exists before the client sends its first metrics
            assert proxy.answered[f"{CREATE} late"].wait(_LATE_S)
        return next(faults, "none") if kind == CREATE else "none"

    proxy.fault = fault
    summary = session.run(
        make_config(
            "runtime.executor=inprocess",
            "training.rounds=3",
            "training.eval_every=1",
            "tracking.enabled=true",
            f"tracking.uri={proxy.uri}",
            "tracking.experiment=late",
        ),
        QUIET,
    )
    creations = [seen for kind, seen in proxy.seen if kind == CREATE]
    assert (creations[0], set(creations[1:])) == ("late", {"none"})
    client = MlflowClient(f"http://127.0.0.1:{server_port}")
    experiment = client.get_experiment_by_name("late")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == summary.run_id
    assert run.info.status == "FINISHED"
    assert len(client.get_metric_history(run.info.run_id, "eval/accuracy")) == 3
    deleted = client.search_runs([experiment.experiment_id], run_view_type=ViewType.DELETED_ONLY)
    assert len(deleted) == len(creations) - 1
    assert all(found.data.params == {} for found in deleted)
