"""Kill the MLflow server under a run and start it a minute later: `python -m tests.soak.mlflow_away`.

There are two runs. The first lasts longer than the outage; the second ends during the outage and waits for the server.
Prints how many rounds were committed before, during and after the outage. Exits 1 when MLflow lacks a metric, has a
metric twice or with another value, or does not mark the run as finished.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mlflow import MlflowClient

from orchestrator import ExperimentConfig, run
from orchestrator.config.overrides import apply_overrides
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.display.run_progress import Progress
from orchestrator.runtime.ray_session import ray_session
from orchestrator.storage.event_log import num_committed
from orchestrator.tracking.record import read_records
from tests.soak.metrics import metric_findings
from tests.support.mlflow_server import MlflowServer

OVERRIDES = (
    "algorithm.name=feddst",
    "model.name=mlp",
    "fleet.num_clients=8",
    "training.clients_per_round=2",
    "training.local_epochs=1",
    "training.eval_every=5",
    "runtime.actors=pooled",
    "runtime.pool_size=2",
)
OUTLASTS = "outlasts the outage"
#: rounds after which the server is killed
ROUNDS_BEFORE = 20


class Outage(threading.Thread):
    """Kills the server while the only run of a storage folder runs, and starts it again after `seconds`."""

    def __init__(self, server: MlflowServer, storage: Path, seconds: float) -> None:
        super().__init__(daemon=True)
        self._server, self._storage, self._seconds = server, storage, seconds
        self.num_at_kill = self.num_at_return = -1

    def run(self) -> None:
        """Wait until the run has completed some rounds, then kill and restart the server."""
        while self._num_done() < ROUNDS_BEFORE:
            time.sleep(0.05)
        self._server.kill()
        self.num_at_kill = self._num_done()
        time.sleep(self._seconds)
        self.num_at_return = self._num_done()
        self._server.start()

    def _num_done(self) -> int:
        return sum(num_committed(file.parent) for file in self._storage.glob("*/run.json"))


def soak(server: MlflowServer, storage: Path, num_rounds: int, seconds: float) -> dict[str, Any]:
    """Make one run, and return its measurements and findings."""
    outage = Outage(server, storage, seconds)
    outage.start()
    keys = [f"training.rounds={num_rounds}", f"runtime.storage={storage}", f"tracking.uri={server.uri}"]
    timeout = f"tracking.flush_timeout_s={2 * seconds + 60:g}"
    config = ExperimentConfig.parse(apply_overrides({}, [*OVERRIDES, *keys, timeout]))
    summary = run(config, Progress(quiet=True))
    outage.join(2 * seconds + 120)
    folder = storage / summary.run_id
    if not 0 <= outage.num_at_kill < outage.num_at_return:
        return {
            "findings": [f"the outage was not inside the run: {outage.num_at_kill}, {outage.num_at_return}"]
        }
    findings = metric_findings(folder, server.uri, num_rounds)
    mlflow_run_id = json.loads((folder / "tracking.json").read_text())["mlflow_run_id"]
    status = MlflowClient(server.uri).get_run(mlflow_run_id).info.status
    if status != "FINISHED":
        findings.append(f"the run is {status} in MLflow")
    return {
        "seconds_away": seconds,
        "rounds_before": outage.num_at_kill,
        "rounds_meanwhile": outage.num_at_return - outage.num_at_kill,
        "rounds_afterwards": num_rounds - outage.num_at_return,
        "metrics": len(
            {name for record in read_records(folder / "metrics.jsonl") for name in record.metrics}
        ),
        "findings": findings,
    }


def main() -> int:
    """Print a JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=2500, help="rounds of the run that outlasts the outage")
    options = parser.parse_args()
    results = {}
    with TemporaryDirectory() as folder, ray_session(RuntimeConfig()):
        (server_folder := Path(folder) / "server").mkdir()
        server = MlflowServer(server_folder)
        server.start()
        try:
            for name, num_rounds in (
                (OUTLASTS, options.rounds),
                ("ends during the outage", 2 * ROUNDS_BEFORE),
            ):
                results[name] = soak(
                    server, Path(folder) / name.replace(" ", "-"), num_rounds, options.seconds
                )
        finally:
            server.kill()
    if results[OUTLASTS].get("rounds_afterwards") == 0:
        results[OUTLASTS]["findings"].append("the run ended before the server was back: give more --rounds")
    print(json.dumps(results, indent=2))
    return 1 if any(result["findings"] for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
