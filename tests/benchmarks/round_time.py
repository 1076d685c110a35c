"""Compare the time of a round to a plain PyTorch loop: `python -m tests.benchmarks.round_time`.

Both have the same workload: 100 clients with 100 generated images each, 10 clients a round, 5 epochs, batch size 20,
the CNN with 21,840 parameters, SGD with momentum. The plain loop uses as many processes with one thread as
Sparsefleet has pooled actors. It has no orchestration, no evaluation and no tracking. Sparsefleet writes checkpoints
and writes to MLflow, whose start is not timed. The two alternate several times within one command. Prints the medians
and their ratio.
"""

import argparse
import json
import os
import statistics

from rich.console import Console

from orchestrator.cli.views.profile_table import profile_table
from tests.benchmarks.plain_loop import WORKLOAD, plain_rounds
from tests.benchmarks.workload import sparsefleet_records


def main() -> None:
    """Print the medians and their ratio, as text and as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--actors", type=int, default=os.cpu_count())
    parser.add_argument("--algorithm", default="fedavg")
    parser.add_argument("--profile", action="store_true", help="print what Sparsefleet's rounds are spent on")
    arguments = parser.parse_args()
    plain: list[float] = []
    ours: list[float] = []
    ratios: list[float] = []
    for repeat in range(arguments.repeats):
        a = plain_rounds(arguments.actors, arguments.rounds)
        records = sparsefleet_records(
            WORKLOAD,
            arguments.rounds,
            runtime={"actors": "pooled", "pool_size": arguments.actors, "profile": arguments.profile},
            sections={"algorithm": {"name": arguments.algorithm}},
        )
        b = [metrics["time/wall_s"] for metrics in records]
        if (table := profile_table(records)) is not None:
            Console(width=100).print(table)
        ratios.append(statistics.median(b) / statistics.median(a))
        print(f"repeat {repeat + 1}: plain {1e3 * statistics.median(a):.0f} ms, "
              f"Sparsefleet {1e3 * statistics.median(b):.0f} ms, ratio {ratios[-1]:.3f}", flush=True)  # fmt: skip
        plain += a
        ours += b
    result = {
        "algorithm": arguments.algorithm,
        "plain_median_ms": round(1e3 * statistics.median(plain), 1),
        "sparsefleet_median_ms": round(1e3 * statistics.median(ours), 1),
        "ratio_median": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3),
        "ratio_max": round(max(ratios), 3),
        "rounds": arguments.rounds,
        "actors": arguments.actors,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
