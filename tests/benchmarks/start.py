"""Time the start of the demo's first run on Ray: `python -m tests.benchmarks.start`.

The benchmark runs the command with a single round, and reads when each line of its progress appears. It prints the
median seconds of each stage, and the seconds from the command to the end of round 1 without `ray.init`. It also prints
what each process of a run imports: the CPU time and the number of modules. These do not depend on other load.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from orchestrator.cli.demo import DEMO

#: upper bound of the seconds from the command to the end of round 1, without `ray.init`
BOUND_S = 6.0


class Stage(NamedTuple):
    """A part of the start. It ends when the command prints a line with `text`."""

    name: str
    text: str


STAGES = (
    Stage("imports_and_config", "loading "),
    Stage("data_and_model", "starting Ray on this machine"),
    Stage("ray_init", "starting the driver and the client actors"),
    Stage("driver", ": Ray, "),
    Stage("client_actors", ": 1 round"),
    Stage("round_1", "round 1/1"),
)

#: what the processes of a run import: command, driver, client actor and tracker
PROCESSES = {
    "command": "orchestrator.runtime.ray_backend",
    "driver": "orchestrator.runtime.driver_actor",
    "client": "orchestrator.execution.client_actor",
    "tracker": "orchestrator.tracking.mlflow.sink",
}

_MEASURE = """
import json, sys, time
import {module}
print(json.dumps([time.process_time(), len(sys.modules)]))
"""


def stage_seconds(folder: Path) -> dict[str, float]:
    """Run the command once, and return the seconds of each stage."""
    config = folder / "demo.yaml"
    config.write_text(json.dumps(DEMO))  # JSON is YAML
    arguments = ["run", "-c", str(config), "algorithm.name=feddst", "sparsity.level=0.8", "training.rounds=1"]
    command = [sys.executable, "-m", "orchestrator.cli", *arguments, f"runtime.storage={folder / 'runs'}"]
    seconds: dict[str, float] = {}
    waiting, last_s = list(STAGES), time.perf_counter()
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if waiting and waiting[0].text in line:
                now_s = time.perf_counter()
                seconds[waiting.pop(0).name], last_s = now_s - last_s, now_s
    if process.returncode or waiting:
        raise RuntimeError(f"exit code {process.returncode}, without the stages {[s.name for s in waiting]}")
    return seconds


def import_cost(module: str) -> tuple[float, int]:
    """Import a module in a new interpreter; return the CPU seconds of the process and its number of modules."""
    code = _MEASURE.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    cpu_s, num_modules = json.loads(done.stdout)
    return cpu_s, num_modules


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    runs = []
    for _ in range(repeats):
        with TemporaryDirectory() as folder:
            runs.append(stage_seconds(Path(folder)))
    totals = [sum(run.values()) - run["ray_init"] for run in runs]
    imports = {name: [import_cost(module) for _ in range(repeats)] for name, module in PROCESSES.items()}
    print(
        json.dumps(
            {
                "stages_s": {
                    s.name: round(statistics.median(run[s.name] for run in runs), 2) for s in STAGES
                },
                "start_without_ray_init_s": round(statistics.median(totals), 2),
                "bound_s": BOUND_S,
                "import_cpu_s": {
                    name: round(statistics.median(cpu_s for cpu_s, _ in costs), 2)
                    for name, costs in imports.items()
                },
                "num_modules": {name: costs[0][1] for name, costs in imports.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
