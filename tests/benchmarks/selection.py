"""Compare a choice by validation data with a choice by test data: `python -m tests.benchmarks.selection`.

Each search has its own seed, and trains the same number of random configurations of FedDST on the digits. It chooses
the best configuration once by test accuracy and once by validation accuracy. The reported number is the test accuracy
of the chosen configuration in its search. The fresh number is the mean test accuracy of the same configuration with
seeds that the search has not seen. Prints means over the searches, with standard errors.
"""

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean, stdev

from orchestrator.federation.seeds import stream
from orchestrator.tracking.record import read_records
from tests.support.runs import drive, fresh

EXPERIMENT = (
    "model.name=mlp",
    "algorithm.name=feddst",
    "fleet.num_clients=20",
    "training.clients_per_round=5",
    "training.local_epochs=4",
    "training.rounds=6",
    "training.eval_every=6",
)
TEST, VALIDATION = "eval/accuracy", "validation/accuracy"


def configurations(search: int, count: int) -> list[tuple[str, ...]]:
    """Return the random configurations of a search: learning rate, momentum and sparsity."""
    rng = stream(search, "configurations")
    return [
        (
            f"training.lr={10 ** rng.uniform(-1.5, -0.5):.4f}",
            f"training.momentum={rng.uniform(0.0, 0.9):.2f}",
            f"sparsity.level={rng.uniform(0.5, 0.9):.2f}",
        )
        for _ in range(count)
    ]


def accuracies(configuration: tuple[str, ...], seed: int) -> dict[str, float]:
    """Train a configuration with a seed, and return its accuracy on both kinds of data."""
    with tempfile.TemporaryDirectory() as folder:
        drive(fresh(*EXPERIMENT, *configuration, f"seed={seed}"), Path(folder))
        last = read_records(Path(folder) / "metrics.jsonl")[-1].metrics
    return {metric: last[metric] for metric in (TEST, VALIDATION)}


def main() -> None:
    """Print the table, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--searches", type=int, default=8)
    parser.add_argument("--configurations", type=int, default=12)
    parser.add_argument("--fresh-seeds", type=int, default=3)
    arguments = parser.parse_args()
    reported: dict[str, list[float]] = {TEST: [], VALIDATION: []}
    measured: dict[str, list[float]] = {TEST: [], VALIDATION: []}
    for search in range(arguments.searches):
        candidates = configurations(search, arguments.configurations)
        found = [accuracies(each, seed=search) for each in candidates]
        for metric in reported:
            best = max(range(len(found)), key=lambda index: found[index][metric])
            reported[metric].append(found[best][TEST])
            seeds = range(1000 + search, 1000 + search + 100 * arguments.fresh_seeds, 100)
            measured[metric].append(mean(accuracies(candidates[best], seed)[TEST] for seed in seeds))
            print(
                f"search {search} by {metric}: reported {reported[metric][-1]:.4f}, "
                f"fresh {measured[metric][-1]:.4f}",
                flush=True,
            )
    rows = {}
    for metric in reported:
        excess = [shown - true for shown, true in zip(reported[metric], measured[metric], strict=True)]
        error = stdev(excess) / len(excess) ** 0.5
        rows[metric] = mean(reported[metric]), mean(measured[metric]), mean(excess), error
        print(
            "chosen by {}: reported {:.4f}, fresh {:.4f}, excess {:.4f} ± {:.4f}".format(
                metric, *rows[metric]
            )
        )
    print(json.dumps({"rows": rows, **vars(arguments)}))


if __name__ == "__main__":
    main()
