"""Compare rounds of Sparsefleet with each other, in turn: `python -m tests.benchmarks.round_variants COMPARISON`.

`methods`: FedDST and SSFL at a sparsity of 0.8 and 0.5, and FedSpa at 0.5, relative to FedAvg, on two pooled actors.
`executors`: this process relative to a Ray with one pooled actor, alone and next to a process that keeps one core busy.
`tasks`: the time of a task without its training, for 100 clients a round with 5 samples each, on two pooled actors.

The workload is that of `round_time`. The variants alternate within each repeat. Prints medians over the repeats.
"""

import argparse
import json
import multiprocessing
import statistics
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

from tests.benchmarks.workload import Workload, sparsefleet_records

NUM_ACTORS = 2
METHODS: dict[str, dict[str, Any]] = {
    "fedavg": {"algorithm": {"name": "fedavg"}},
    "feddst": {"algorithm": {"name": "feddst"}, "sparsity": {"level": 0.8}},
    "fedspa": {"algorithm": {"name": "fedspa"}, "sparsity": {"level": 0.5}},
    "ssfl": {"algorithm": {"name": "ssfl"}, "sparsity": {"level": 0.5}},
}


def median_round_s(records: list[Mapping[str, float]]) -> float:
    """The median wall time of a round, in seconds."""
    return statistics.median(metrics["time/wall_s"] for metrics in records)


def pooled(num_actors: int = NUM_ACTORS) -> dict[str, Any]:
    """The section `runtime` of a run on pooled actors."""
    return {"actors": "pooled", "pool_size": num_actors}


def methods(num_rounds: int) -> dict[str, float]:
    """The median round of each method, relative to that of FedAvg."""
    seconds = {
        name: median_round_s(sparsefleet_records(Workload(), num_rounds, runtime=pooled(), sections=sections))
        for name, sections in METHODS.items()
    }
    return {f"{name} / fedavg": seconds[name] / seconds["fedavg"] for name in METHODS if name != "fedavg"}


def spin() -> None:
    """Keep one core busy."""
    while True:
        pass


@contextmanager
def busy_core() -> Iterator[None]:
    """Run a process that keeps one core busy within the block."""
    process = multiprocessing.get_context("spawn").Process(target=spin, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def executors(num_rounds: int) -> dict[str, float]:
    """The median round in this process, relative to that on Ray with one pooled actor."""
    ratios = {}
    for load, context in (("alone", nullcontext), ("next to a busy core", busy_core)):
        with context():
            own, actor = (
                median_round_s(
                    sparsefleet_records(Workload(), num_rounds, runtime=runtime, sections=METHODS["fedavg"])
                )
                for runtime in ({"executor": "inprocess"}, pooled(1))
            )
        ratios[f"this process / one actor, {load}"] = own / actor
    return ratios


def tasks(num_rounds: int) -> dict[str, float]:
    """Milliseconds of a round's wall time for each task, less the clients' training on two actors."""
    workload = Workload(per_round=100, samples=5)
    records = sparsefleet_records(
        workload, num_rounds, runtime={**pooled(), "profile": True}, sections=METHODS["fedavg"]
    )
    seconds = [m["time/wall_s"] - m["time/client_train_s"] / NUM_ACTORS for m in records]
    return {
        "ms a task, without training": 1e3 * statistics.median(seconds) / workload.per_round,
        "ms a task": 1e3 * median_round_s(records) / workload.per_round,
    }


COMPARISONS: dict[str, Callable[[int], dict[str, float]]] = {
    "methods": methods,
    "executors": executors,
    "tasks": tasks,
}


def main() -> None:
    """Print the figures of each repeat, and then their medians as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("--rounds", type=int, default=40, help="rounds of each run that are timed")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    repeats = []
    for repeat in range(arguments.repeats):
        repeats.append(COMPARISONS[arguments.comparison](arguments.rounds))
        figures = ", ".join(f"{name} {value:.3f}" for name, value in repeats[-1].items())
        print(f"repeat {repeat + 1}: {figures}", flush=True)
    medians = {name: round(statistics.median(r[name] for r in repeats), 3) for name in repeats[0]}
    print(json.dumps({"comparison": arguments.comparison, "rounds": arguments.rounds, **medians}))


if __name__ == "__main__":
    main()
