"""Kill processes of many short runs at random: `python -m tests.soak.chaos --kills 60 --seed 0`.

Each run is a separate command on one Ray that stays up, with MLflow on. After random times the test sends SIGKILL to
one of its client actors, to all of them, to its driver, or to the command itself; a killed command is resumed. After
the run three conditions must be true: its parameters equal those of the run without kills, bit for bit; MLflow has
every metric exactly once for each round in which it was measured; Ray has no actor, process or placement group of the
run. Prints a summary; exits 1 if a condition is false.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray

from orchestrator import ExperimentConfig, run
from orchestrator.config.overrides import apply_overrides
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.display.run_progress import Progress
from orchestrator.runtime.ray_session import ray_session
from orchestrator.storage.event_log import num_committed
from tests.soak.actors import kill, leaks
from tests.soak.metrics import metric_findings

METHODS = ("feddst", "fedspa", "ssfl", "fedlps")
VICTIMS = ("client", "all clients", "driver", "command")
ROUNDS = 12
#: seconds without progress after which a run counts as hanging
STUCK_S = 240.0


def overrides(storage: Path, method: str, seed: int) -> list[str]:
    """Overrides of a small experiment with client states and scoring, on two pooled actors."""
    return [
        f"algorithm.name={method}",
        f"seed={seed}",
        "model.name=mlp",
        "fleet.num_clients=6",
        "training.clients_per_round=4",
        "training.local_epochs=1",
        f"training.rounds={ROUNDS}",
        "training.eval_every=3",
        "runtime.actors=pooled",
        "runtime.pool_size=2",
        "runtime.max_retries=5",
        f"runtime.storage={storage}",
    ]


class SoakedRun:
    """One run; the test resumes its command after each kill."""

    def __init__(self, storage: Path, keys: list[str], address: str) -> None:
        self._address, self._before = address, set(storage.glob("*/run.json"))
        self._storage, self.folder = storage, None
        self._start(["run", *keys])

    def _start(self, arguments: list[str]) -> None:
        command = [
            sys.executable,
            "-m",
            "orchestrator.cli",
            *arguments,
            f"runtime.address={self._address}",
            "--quiet",
        ]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)

    folder: Path | None

    def num_done(self) -> int:
        """Return the number of committed rounds."""
        if self.folder is None:
            new = set(self._storage.glob("*/run.json")) - self._before
            self.folder = new.pop().parent if new else None
        return num_committed(self.folder) if self.folder else 0

    def wait(self, seconds: float, least_rounds: int) -> bool:
        """Wait for `seconds` and until `least_rounds` rounds are committed; return False if the run ends before."""
        until_s, stuck_s = time.monotonic() + seconds, time.monotonic() + STUCK_S
        while time.monotonic() < until_s or self.num_done() < least_rounds:
            if self.process.poll() is not None:
                return False
            if time.monotonic() > stuck_s:
                raise AssertionError(
                    f"{self.folder} has made no progress after round {self.num_done()} for {STUCK_S:g} s"
                )
            time.sleep(0.05)
        return True

    def kill(self, victim: str) -> int:
        """Kill the command or some of its actors; return the number of killed processes."""
        assert self.folder is not None
        if victim == "command":
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._start(["resume", str(self.folder)])
            return 1
        name = "driver" if victim == "driver" else "pool"
        return kill(self.folder.name, name, 1 if victim == "client" else None)

    def end(self) -> str:
        """Wait for the end of the command, and return its standard error."""
        return self.process.communicate(timeout=STUCK_S)[1]


def check(soaked: SoakedRun, expected: str, database: str) -> list[str]:
    """Return one line for each condition that an ended run violates."""
    errors = soaked.end()
    if soaked.process.returncode:
        return [f"exit code {soaked.process.returncode}: {errors.strip()[-500:]}"]
    assert soaked.folder is not None
    summary = json.loads((soaked.folder / "summary.json").read_text())
    found = [] if summary["params_sha256"] == expected else ["the parameters differ"]
    found += metric_findings(soaked.folder, database, ROUNDS)
    until_s = time.monotonic() + 30.0
    while (left := leaks(soaked.folder.name)) and time.monotonic() < until_s:
        time.sleep(0.2)
    return found + left


def soak(num_kills: int, seed: int, storage: Path, address: str) -> tuple[Counter[str], list[str], int]:
    """Run until `num_kills` kills; return the kills by victim, the findings, and the number of runs."""
    rng = np.random.default_rng(seed)
    tally, findings, expected, num_runs = Counter[str](), list[str](), dict[str, str](), 0
    while sum(tally.values()) < num_kills:
        method, run_seed = METHODS[num_runs % len(METHODS)], num_runs // len(METHODS) % 2
        keys = overrides(storage, method, run_seed)
        key = f"{method} {run_seed}"
        if key not in expected:
            alone = [*keys, "runtime.executor=inprocess", "tracking.enabled=false"]
            expected[key] = run(
                ExperimentConfig.parse(apply_overrides({}, alone)), Progress(quiet=True)
            ).params_sha256
        soaked, hits = SoakedRun(storage, keys, address), list[str]()
        while soaked.wait(float(rng.exponential(0.4)), least_rounds=min(1 + len(hits), ROUNDS - 1)):
            victim = str(rng.choice(VICTIMS, p=[0.35, 0.2, 0.25, 0.2]))
            if len(hits) >= ROUNDS - 2 or sum(tally.values()) >= num_kills:
                break
            if soaked.kill(victim):
                hits.append(victim)
                tally[victim] += 1
        found = check(soaked, expected[key], f"sqlite:///{storage / 'mlflow.db'}")
        findings += [f"{key} ({soaked.folder}): {finding}" for finding in found]
        num_runs += 1
        print(
            f"run {num_runs}, {key}: {', '.join(hits) or 'no kill'}; {'; '.join(found) or 'ok'}",
            flush=True,
        )
    return tally, findings, num_runs


def main() -> int:
    """Print a JSON object, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    started_s = time.perf_counter()
    with TemporaryDirectory() as folder, ray_session(RuntimeConfig()):
        address = ray.get_runtime_context().gcs_address
        tally, findings, num_runs = soak(options.kills, options.seed, Path(folder), address)
    print(
        json.dumps(
            {
                "runs": num_runs,
                "kills": sum(tally.values()),
                "kills_by_victim": dict(tally),
                "findings": findings,
                "wall_s": round(time.perf_counter() - started_s, 1),
            },
            indent=2,
        )
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
