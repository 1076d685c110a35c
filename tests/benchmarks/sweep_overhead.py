"""Compare a sweep to the same runs one by one: `python -m tests.benchmarks.sweep_overhead`.

The benchmark makes a short experiment with several seeds in one Ray that is already up, with MLflow on. It first
makes single runs, one after another, each on as many pooled actors as the machine has cores. Then it makes one sweep
with the same trials. It prints the wall times and their ratio.

At the end it makes the same sweep from the command line, in its own Ray, and prints the fraction of the time that the
process spent on MLflow, from the sweep's summary. It prints this fraction also for the sweeps in this process. There
the fraction is larger, because the report is fast after the first one and hides less of the last deliveries.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from orchestrator import ExperimentConfig, run, sweep
from orchestrator.config.overrides import put_values
from orchestrator.config.runtime import RuntimeConfig
from orchestrator.display.run_progress import Progress
from orchestrator.display.sweep_progress import SweepProgress
from orchestrator.runtime.ray_session import ray_session

#: upper bounds: ratio of the wall times of sweep and single runs, and MLflow's share of the sweep's wall time
RATIO, TRACKING_SHARE = 1.15, 0.01

SPACE = '"""One configuration."""\n\nSPACE = {"algorithm.name": "feddst"}\n'


def values(storage: Path, rounds: int) -> dict[str, Any]:
    """Return the experiment by dotted key."""
    return {"algorithm.name": "feddst", "training.rounds": rounds, "runtime.storage": str(storage)}


def single_runs(storage: Path, num_runs: int, rounds: int) -> float:
    """Make single runs, and return their seconds."""
    started_s = time.perf_counter()
    for seed in range(num_runs):
        config = ExperimentConfig.parse(put_values({}, {**values(storage, rounds), "seed": seed}))
        run(config, Progress(quiet=True))
    return time.perf_counter() - started_s


def one_sweep(storage: Path, space: Path, num_trials: int, rounds: int) -> tuple[float, float]:
    """Make a sweep, and return its seconds and the seconds that it spent on MLflow."""
    started_s = time.perf_counter()
    result = sweep(str(space), values(storage, rounds), seeds=num_trials, display=SweepProgress(quiet=True))
    assert result.num_finished == num_trials
    return time.perf_counter() - started_s, result.tracking_s


def command_share(folder: Path, space: Path, num_trials: int, rounds: int) -> float:
    """Make a sweep from the command line, and return MLflow's share of its time."""
    arguments = [
        "sweep",
        str(space),
        "--seeds",
        str(num_trials),
        "--summary",
        str(folder / "summary.json"),
        "--quiet",
    ]
    options = [f"{key}={value}" for key, value in values(folder / "by-command", rounds).items()]
    subprocess.run([sys.executable, "-m", "orchestrator.cli", *arguments, *options], check=True)
    summary = json.loads((folder / "summary.json").read_text())
    return float(summary["tracking_s"] / summary["wall_s"])


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    singles, sweeps, shares = [], [], []
    with TemporaryDirectory() as folder:
        space = Path(folder) / "one.py"
        space.write_text(SPACE)
        with ray_session(RuntimeConfig()):
            for repeat in range(options.repeats):
                storage = Path(folder) / f"runs-{repeat}"
                singles.append(single_runs(storage, options.trials, options.rounds))
                wall_s, tracking_s = one_sweep(storage, space, options.trials, options.rounds)
                sweeps.append(wall_s)
                shares.append(tracking_s / wall_s)
        share = command_share(Path(folder), space, options.trials, options.rounds)
    ratios = [one / many for one, many in zip(sweeps, singles, strict=True)]
    print(
        json.dumps(
            {
                "trials": options.trials,
                "rounds": options.rounds,
                "single_runs_s": [round(s, 1) for s in singles],
                "sweep_s": [round(s, 1) for s in sweeps],
                "ratio": round(statistics.median(ratios), 3),
                "ratio_bound": RATIO,
                "tracking_share": round(share, 4),
                "tracking_share_bound": TRACKING_SHARE,
                "tracking_share_in_a_warm_process": round(statistics.median(shares), 4),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
