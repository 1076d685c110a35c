"""Compare the time of a round with other frameworks: `python -m tests.benchmarks.peers --flower PYTHON --pfl PYTHON`.

PYTHON is the interpreter of an environment of its own: with `pip install "flwr[simulation]" torch`, and with
`pip install "pfl[pytorch]" torch`. All contenders have the workload of `round_time`, and take turns within each repeat.
Prints the median round of each, and its ratio to that of Sparsefleet on pooled actors. The first rounds, in which a
contender starts its processes, are not timed.
"""

import argparse
import json
import os
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks.plain_loop import WORKLOAD, plain_rounds
from tests.benchmarks.workload import sparsefleet_records

ROOT = Path(__file__).resolve().parents[2]
#: rounds of a contender that are not timed
NUM_STARTING = 3


def contender_rounds(python: str, module: str, num_rounds: int, argument: int) -> list[float]:
    """The seconds of the timed rounds of a contender, which prints them as its last line.

    Raises RuntimeError with the end of its output if it fails.
    """
    result = subprocess.run(
        [python, "-m", f"tests.benchmarks.{module}", str(NUM_STARTING + num_rounds), str(argument)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in result.stdout.splitlines() if line.startswith("[")]
    if result.returncode or not lines:
        raise RuntimeError(f"{module} failed:\n{result.stdout[-1000:]}{result.stderr[-2000:]}")
    return list(json.loads(lines[-1]))[NUM_STARTING:]


def own_rounds(num_rounds: int, num_cores: int) -> list[float]:
    """The seconds of Sparsefleet's timed rounds."""
    records = sparsefleet_records(
        WORKLOAD,
        num_rounds,
        runtime={"actors": "pooled", "pool_size": num_cores},
        sections={"algorithm": {"name": "fedavg"}},
    )
    return [metrics["time/wall_s"] for metrics in records]


def main() -> None:
    """Print the medians of each repeat, and then the median ratios as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--flower", required=True, help="interpreter of an environment with flwr[simulation]")
    parser.add_argument("--pfl", required=True, help="interpreter of an environment with pfl[pytorch]")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of each that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    cores, rounds = os.cpu_count() or 1, arguments.rounds
    contenders: dict[str, Callable[[], list[float]]] = {
        "sparsefleet": lambda: own_rounds(rounds, cores),
        "plain loop": lambda: plain_rounds(cores, NUM_STARTING + rounds)[NUM_STARTING:],
        "flower": lambda: contender_rounds(arguments.flower, "flower_rounds", rounds, cores),
        "pfl-research, 1 thread": lambda: contender_rounds(arguments.pfl, "pfl_rounds", rounds, 1),
        f"pfl-research, {cores} threads": lambda: contender_rounds(
            arguments.pfl, "pfl_rounds", rounds, cores
        ),
    }
    ratios: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(arguments.repeats):
        medians = {name: statistics.median(run()) for name, run in contenders.items()}
        for name, seconds in medians.items():
            ratios[name].append(seconds / medians["sparsefleet"])
        figures = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in medians.items())
        print(f"repeat {repeat + 1}: {figures}", flush=True)
    print(json.dumps({f"{name} / sparsefleet": round(statistics.median(r), 3) for name, r in ratios.items()}))


if __name__ == "__main__":
    main()
