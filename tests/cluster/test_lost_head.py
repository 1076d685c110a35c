"""A command outside the cluster, connected through Ray Client, whose cluster loses its head."""

import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.config_loading import load_config
from orchestrator.runtime import session
from orchestrator.runtime.event_log import num_committed
from orchestrator.tracking.progress import Progress
from tests.cluster.head import started_head
from tests.soak.metrics import metric_findings

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

SMALL = (
    "fleet.num_clients=4",
    "training.clients_per_round=2",
    "training.local_epochs=1",
    "training.rounds=5000",
    "runtime.pool_size=1",
    "runtime.actors=pooled",
)


def test_it_ends_with_one_line_and_the_run_goes_on_elsewhere(tmp_path: Path) -> None:
    words = [*SMALL, f"runtime.storage={tmp_path}"]
    with started_head() as head:
        command = subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli", "run", *words, f"runtime.address={head.client}"],
            env=head.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert command.stdout is not None
        for line in command.stdout:
            if ": round 1/5000" in line:
                break
        head.kill()
        said = command.communicate(timeout=180)[0]
    assert command.returncode == 1, said
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
