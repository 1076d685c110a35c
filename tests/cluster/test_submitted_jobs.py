"""Commands that really run as jobs of a cluster with tokens: their logs, results, exit codes, and Ctrl-C."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from tests.support.cluster_head import Head, started_head

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SMALL = (
    "tracking.enabled=false",
    "fleet.num_clients=4",
    "training.clients_per_round=2",
    "training.local_epochs=1",
    "runtime.pool_size=1",
    "runtime.actors=pooled",
)
#: says from where the package came
METHOD = '''
import orchestrator
from orchestrator.federation.algorithm import Algorithm, ServerState

print("package:", orchestrator.__file__)


class Mine(Algorithm[ServerState, None]):
    """FedAvg in a file of its own."""
'''


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started_head() as head:
        yield head


def _words(head: Head, *words: object) -> list[str]:
    command, *rest = map(str, words)
    return [sys.executable, "-m", "orchestrator.cli", command, "--address", head.address, *rest]


def _run(head: Head, folder: Path, *words: object, **changes: str) -> "subprocess.CompletedProcess[str]":
    environment = {**head.environment, **changes}
    return subprocess.run(
        _words(head, *words), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def _run_here(head: Head, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command that joins the cluster by `runtime.address` itself."""
    command = [sys.executable, "-m", "orchestrator.cli", *words]
    return subprocess.run(command, env=head.environment, capture_output=True, text=True, timeout=300)


def _in_process(storage: Path, *overrides: str) -> Any:
    words = [*SMALL, f"runtime.storage={storage}", "runtime.executor=inprocess", *overrides]
    return session.run(load_config(None, words), Progress(quiet=True)).params_sha256


def _summary(storage: Path) -> dict[str, Any]:
    (file,) = storage.glob("*/summary.json")
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_job_streams_its_log_and_ends_as_the_run_here_does(head: Head, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD)
    (tmp_path / "experiment.yaml").write_text('algorithm: {name: "mine.py:Mine"}\ntraining: {rounds: 3}\n')
    storage = tmp_path / "shared"
    ended = _run(
        head, tmp_path, "submit", "run", "-c", "experiment.yaml", *SMALL, f"runtime.storage={storage}"
    )
    assert ended.returncode == 0, ended.stderr
    assert "with experiment.yaml, mine.py" in ended.stderr
    assert ": round 3/3  accuracy " in ended.stdout
    assert "mine.py:Mine" in ended.stdout
    (package,) = {line for line in ended.stdout.splitlines() if line.startswith("package: ")}
    assert "runtime_resources" in package
    assert _summary(storage)["params_sha256"] == _in_process(tmp_path / "here", "training.rounds=3")


def test_a_run_through_ray_client_ends_as_the_run_here_does(head: Head, tmp_path: Path) -> None:
    """The command itself is no process of the cluster."""
    storage = tmp_path / "shared"
    words = [
        "run",
        *SMALL,
        "training.rounds=3",
        f"runtime.storage={storage}",
        f"runtime.address={head.client}",
    ]
    ended = _run_here(head, *words)
    assert ended.returncode == 0, ended.stderr
    assert _summary(storage)["params_sha256"] == _in_process(tmp_path / "here", "training.rounds=3")


def test_a_sweep_through_ray_client_is_refused(head: Head, tmp_path: Path) -> None:
    words = ["sweep", "smoke", f"runtime.address={head.client}", "--storage", str(tmp_path / "runs")]
    ended = _run_here(head, *words)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        f"error: runtime.address={head.client}: a sweep is run on a node of its cluster, not "
    )
    assert not list((tmp_path / "runs").iterdir())


def test_a_wrong_request_ends_with_the_jobs_own_code(head: Head, tmp_path: Path) -> None:
    ended = _run(head, tmp_path, "submit", "run", *SMALL, f"runtime.storage={tmp_path}", "training.rounds=0")
    assert ended.returncode == 2, ended.stderr
    assert "error: training.rounds=0: " in ended.stdout


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"RAY_AUTH_MODE": "disabled"}, "the cluster wants a token; set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": ""}, "the cluster wants a token; set RAY_AUTH_MODE=token"),
        ({"RAY_AUTH_TOKEN": "0" * 64}, "the cluster does not know this token; put the cluster's own"),
    ],
)
def test_without_the_token_one_line_says_what_to_do(
    changes: dict[str, str], told: str, head: Head, tmp_path: Path
) -> None:
    ended = _run(head, tmp_path, "submit", "list", "models", **changes)
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert f"error: --address={head.address}: {told}" in line


def test_ctrl_c_stops_a_job_so_that_it_can_go_on(head: Head, tmp_path: Path) -> None:
    """While it runs `status` shows it; what it had committed goes on to the bits of the undisturbed run."""
    storage = tmp_path / "shared"
    words = ("submit", "run", *SMALL, f"runtime.storage={storage}", "training.rounds=2000")
    submit = subprocess.Popen(
        _words(head, *words),
        env=head.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert submit.stdout is not None
    for line in submit.stdout:
        if ": round 1/2000" in line:
            break
    status = _run(head, tmp_path, "status", "--json", "--storage", storage)
    submit.send_signal(signal.SIGINT)
    said = submit.communicate(timeout=300)[0]
    assert submit.returncode == 130, said
    assert "stopping after the round in progress" in said

    assert status.returncode == 0, status.stderr
    shown = json.loads(status.stdout)
    (run,) = shown["runs"]
    assert (run["state"], run["num_asked"], run["method"]) == ("running", 2000, "fedavg")
    assert {actor["name"] for actor in shown["cluster"]["actors"]} >= {f"{run['name']}/driver"}
    newest, *_ = shown["cluster"]["jobs"]
    assert newest["state"] == "RUNNING"
    (node,) = shown["cluster"]["nodes"]
    assert (node["is_head"], node["alive"], node["resources"]["CPU"][1]) == (True, True, 2.0)

    summary = _summary(storage)
    assert summary["interrupted"]
    assert f"stopped after {summary['num_rounds']} rounds; " in said
    rounds = summary["num_rounds"] + 2
    changes = ["runtime.executor=inprocess", f"training.rounds={rounds}"]
    resumed = session.resume(Path(run["folder"]), changes, Progress(quiet=True))
    assert resumed.params_sha256 == _in_process(tmp_path / "here", f"training.rounds={rounds}")
