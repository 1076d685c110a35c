"""Commands whose cluster loses its head: a run through Ray Client, and a sweep."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from orchestrator.storage.event_log import num_committed
from tests.soak.metrics import metric_findings
from tests.support.cluster_head import Head, started_head
from tests.support.sweep_files import tiny_space

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

SMALL = (
    "fleet.num_clients=4",
    "training.clients_per_round=2",
    "training.local_epochs=1",
    "training.rounds=5000",
    "runtime.pool_size=1",
    "runtime.actors=pooled",
)


def _said_after_the_loss(head: Head, words: list[object], seen: str) -> str:
    """What a command prints after a line with what is to be seen, when its head is killed then; it ends with 1."""
    command = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *map(str, words)],
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert command.stdout is not None
    assert any(seen in line for line in command.stdout), "it ended before"
    head.kill()
    said = command.communicate(timeout=300)[0]
    assert command.returncode == 1, said
    return said


def test_a_run_through_ray_client_ends_with_one_line_and_goes_on_elsewhere(tmp_path: Path) -> None:
    words = [*SMALL, f"runtime.storage={tmp_path}"]
    with started_head() as head:
        said = _said_after_the_loss(head, ["run", *words, f"runtime.address={head.client}"], ": round 1/5000")
    (run,) = [path.parent for path in tmp_path.glob("*/run.json")]
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert error.startswith(f"error: the head of the Ray cluster, {head.client}, does not answer (")
    assert f"`sparsefleet resume {run}` goes on from the last commit" in error

    rounds = num_committed(run) + 2
    assert rounds > 2, said
    changes = ["runtime.executor=inprocess", f"training.rounds={rounds}"]
    resumed = session.resume(run, changes, Progress(quiet=True))
    alone = load_config(
        None, [*words, *changes, "tracking.enabled=false", f"runtime.storage={tmp_path / 'alone'}"]
    )
    assert resumed.params_sha256 == session.run(alone, Progress(quiet=True)).params_sha256
    assert metric_findings(run, f"sqlite:///{tmp_path}/mlflow.db", rounds) == []


def test_a_sweep_ends_with_one_line_that_says_how_it_goes_on(tmp_path: Path) -> None:
    storage, space = tmp_path / "runs", tiny_space(tmp_path)
    words = ["sweep", space, "--num-samples", "2", "--storage", storage, "training.rounds=5000"]
    with started_head() as head:
        said = _said_after_the_loss(head, [*words, f"runtime.address={head.gcs}"], "running 0: round ")
    (sweep,) = [path.parent for path in storage.glob("*/sweep.json")]
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    place, _, rest = error.removeprefix("error: the head of the Ray cluster, ").partition(", ")
    assert place.rpartition(":")[2] == head.gcs.rpartition(":")[2]
    assert rest == (
        f"does not answer; `sparsefleet sweep {sweep} --resume` goes on from the last commit once there is a cluster"
    )
