"""Measure the growth of a long pooled run: `python -m tests.soak.endurance --minutes 15`.

The run ends when the time is over. At intervals the command prints the memory and the file descriptors of driver,
client actors, tracker and command, and the number of objects in Ray's shared store. At the end it prints the growth of
each per 100 rounds over the second half of the run, memory in MiB. Exits 1 when one grows beyond its bound.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import ray
from ray._private.internal_api import get_memory_info_reply, get_state_from_address

from orchestrator import ExperimentConfig, run
from orchestrator.config.overrides import apply_overrides
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.display.run_progress import Progress
from orchestrator.runtime.ray_session import ray_session
from orchestrator.storage.event_log import num_committed
from tests.soak.actors import living

#: bounds of the growth per 100 rounds: MiB of a process, its file descriptors, and objects
MAX_MIB, MAX_DESCRIPTORS, MAX_OBJECTS = 1.0, 0.5, 0.5

#: the clients have states, the masks move, and every fifth round is evaluated
OVERRIDES = (
    "algorithm.name=fedspa",
    "model.name=mlp",
    "fleet.num_clients=40",
    "training.clients_per_round=4",
    "training.local_epochs=1",
    "training.rounds=1000000",
    "training.eval_every=5",
    "runtime.actors=pooled",
    "runtime.pool_size=2",
)

Sample = dict[str, float]


def resident_mib(pid: int) -> float:
    """Return the private memory of a process: anonymous pages, without mapped libraries and Ray's shared store."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 2**10


def sample(storage: Path) -> Sample | None:
    """Return the present values by name; None before all actors of the run are alive."""
    folders = [path.parent for path in storage.glob("*/run.json")]
    actors = living(folders[0].name) if folders else []
    if not actors or any(actor["State"] != "ALIVE" for actor in actors):
        return None
    found = {
        "round": float(num_committed(folders[0])),
        # objects in transfer come and go, so the smallest of some samples counts
        "objects": float(min(num_objects() for _ in range(20))),
    }
    processes = {actor["Name"].partition("/")[2]: actor["Pid"] for actor in actors} | {"command": os.getpid()}
    for name, pid in processes.items():
        found[f"{name} MiB"] = resident_mib(pid)
        found[f"{name} descriptors"] = float(len(os.listdir(f"/proc/{pid}/fd")))
    return found


def num_objects() -> int:
    """Return the number of objects in Ray's shared store now, including objects in transfer."""
    state = get_state_from_address(ray.get_runtime_context().gcs_address)
    time.sleep(0.02)
    return int(get_memory_info_reply(state).store_stats.num_local_objects)


def watch(storage: Path, minutes: float, every_s: float, samples: list[Sample]) -> None:
    """Sample until the time is over, then interrupt the run."""
    until_s = time.monotonic() + 60.0 * minutes
    try:
        while time.monotonic() < until_s:
            time.sleep(every_s)
            if now := sample(storage):
                samples.append(now)
                print(json.dumps({name: round(value, 1) for name, value in now.items()}), flush=True)
    finally:
        os.kill(os.getpid(), signal.SIGINT)


def slopes(samples: list[Sample]) -> dict[str, float]:
    """Return the growth per 100 rounds over the second half by name, fitted by least squares."""
    if len(samples) < 4:
        raise SystemExit("the run is too short: it needs four samples")
    half = samples[len(samples) // 2 :]
    rounds = [one["round"] for one in half]
    names = [name for name in half[0] if name != "round" and all(name in one for one in half)]
    return {name: 100.0 * float(np.polyfit(rounds, [t[name] for t in half], 1)[0]) for name in names}


def bound(name: str) -> float:
    """Return the bound of a growth."""
    return MAX_OBJECTS if name == "objects" else MAX_MIB if name.endswith("MiB") else MAX_DESCRIPTORS


def main() -> int:
    """Print samples and growth, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--every", type=float, default=20.0, metavar="SECONDS")
    options = parser.parse_args()
    samples: list[Sample] = []
    with TemporaryDirectory() as folder, ray_session(RuntimeConfig()):
        storage = Path(folder)
        config = ExperimentConfig.parse(apply_overrides({}, [*OVERRIDES, f"runtime.storage={storage}"]))
        watcher = threading.Thread(target=watch, args=(storage, options.minutes, options.every, samples))
        watcher.start()
        summary = run(config, Progress(quiet=True))
        watcher.join()
    grown = {name: round(slope, 3) for name, slope in slopes(samples).items()}
    beyond = [name for name, slope in grown.items() if slope > bound(name)]
    print(
        json.dumps({"rounds": summary.num_rounds, "per_100_rounds": grown, "beyond_bounds": beyond}, indent=2)
    )
    return 1 if beyond else 0


if __name__ == "__main__":
    sys.exit(main())
