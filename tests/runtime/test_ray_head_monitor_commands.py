"""Commands whose cluster loses its head while they run: a run through Ray Client, and a sweep."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.display.run_progress import Progress
from orchestrator.experiment.loading import load_config
from orchestrator.runtime import session
from orchestrator.storage.event_log import num_committed
from tests.soak.metrics import metric_findings
from tests.support.cluster_head import HeadProcess, started_head
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


def _output_after_the_loss(head: HeadProcess, arguments: list[object], text: str) -> str:
    """Kill the head when the command prints `text`; return what the command prints until it ends with exit code 1."""
    command = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
        env=head.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert command.stdout is not None
    assert any(text in line for line in command.stdout), f"the command ended before it printed {text!r}"
    head.kill()
    output = command.communicate(timeout=300)[0]
    assert command.returncode == 1, output
    return output


def test_run_through_ray_client_ends_with_one_line_and_can_be_resumed(tmp_path: Path) -> None:
    overrides = [*SMALL, f"runtime.storage={tmp_path}"]
    with started_head() as head:
        arguments: list[object] = ["run", *overrides, f"runtime.address={head.client}"]
        output = _output_after_the_loss(head, arguments, ": round 1/5000")
    (run,) = [path.parent for path in tmp_path.glob("*/run.json")]
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert head.client in error
    assert f"sparsefleet resume {run}`" in error

    rounds = num_committed(run) + 2
    assert rounds > 2, output
    changes = ["runtime.executor=inprocess", f"training.rounds={rounds}"]
    resumed = session.resume(run, changes, Progress(quiet=True))
    alone = load_config(
        None, [*overrides, *changes, "tracking.enabled=false", f"runtime.storage={tmp_path / 'alone'}"]
    )
    assert resumed.params_sha256 == session.run(alone, Progress(quiet=True)).params_sha256
    assert metric_findings(run, f"sqlite:///{tmp_path}/mlflow.db", rounds) == []


def test_sweep_ends_with_one_line_that_names_the_command_to_resume(tmp_path: Path) -> None:
    storage, space = tmp_path / "runs", tiny_space(tmp_path)
    arguments = ["sweep", space, "--num-samples", "2", "--storage", storage, "training.rounds=5000"]
    with started_head() as head:
        output = _output_after_the_loss(head, [*arguments, f"runtime.address={head.gcs}"], " 0: round ")
    (sweep,) = [path.parent for path in storage.glob("*/sweep.json")]
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert f":{head.gcs.rpartition(':')[2]}" in error
    assert f"sparsefleet sweep {sweep} --resume`" in error
