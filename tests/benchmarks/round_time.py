"""Compare the time of a round to a plain PyTorch loop: `python -m tests.benchmarks.round_time`.

Both have the same workload: 100 clients with 100 generated images each, 10 clients a round, 5 epochs, batch size 20,
the CNN with 21,840 parameters, SGD with momentum. The plain loop uses as many processes with one thread as
Sparsefleet has pooled actors. It has no orchestration, no evaluation and no tracking. Sparsefleet writes checkpoints
and writes to MLflow, whose start is not timed. The two alternate several times within one command. Prints the medians
and their ratio.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from multiprocessing.queues import Queue

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from orchestrator.cli.views.profile_table import profile_table
from tests.benchmarks.workload import (
    BATCH,
    EPOCHS,
    LR,
    MOMENTUM,
    NUM_CLIENTS,
    Workload,
    sparsefleet_records,
)

WORKLOAD = Workload()
PER_ROUND, SAMPLES = WORKLOAD.per_round, WORKLOAD.samples
Weights = dict[str, Tensor]


def make_net() -> nn.Module:
    """The 21,840-parameter CNN, written plainly."""
    return nn.Sequential(
        *(nn.Conv2d(1, 10, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(10, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(320, 50), nn.ReLU(), nn.Linear(50, 10)),
    )


def train_plainly(net: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Train one client with a plain PyTorch loop."""
    optimizer = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM)
    for _ in range(EPOCHS):
        for rows in torch.split(torch.randperm(len(images)), BATCH):
            optimizer.zero_grad()
            cross_entropy(net(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()


def plain_worker(jobs: "Queue[tuple[Weights, list[int]] | None]", results: "Queue[Weights | None]") -> None:
    """Train the clients of each job one by one, and return the sum of their weights."""
    torch.set_num_threads(1)
    images, labels = (torch.from_numpy(array) for array in WORKLOAD.make_images())
    net = make_net()
    results.put(None)
    while (job := jobs.get()) is not None:
        start, clients = job
        total: Weights | None = None
        for k in clients:
            net.load_state_dict(start)
            train_plainly(
                net, images[k * SAMPLES : (k + 1) * SAMPLES], labels[k * SAMPLES : (k + 1) * SAMPLES]
            )
            trained = net.state_dict()
            total = {n: v.clone() + (0 if total is None else total[n]) for n, v in trained.items()}
        results.put(total or {})


def plain_rounds(num_processes: int, num_rounds: int) -> list[float]:
    """Run the plain loop, and return the seconds of each round."""
    context = multiprocessing.get_context("spawn")
    results: Queue[Weights | None] = context.Queue()
    queues: list[Queue[tuple[Weights, list[int]] | None]] = [context.Queue() for _ in range(num_processes)]
    workers = [context.Process(target=plain_worker, args=(q, results), daemon=True) for q in queues]
    for worker in workers:
        worker.start()
    for _ in workers:
        results.get()
    rng, weights, seconds = np.random.default_rng(1), make_net().state_dict(), []
    for _ in range(num_rounds):
        started = time.perf_counter()
        cohort = rng.choice(NUM_CLIENTS, PER_ROUND, replace=False).tolist()
        for number, queue in enumerate(queues):
            queue.put((weights, cohort[number::num_processes]))
        parts = [part for part in (results.get() for _ in queues) if part]
        weights = {name: torch.stack([p[name] for p in parts]).sum(0) / PER_ROUND for name in weights}
        seconds.append(time.perf_counter() - started)
    for queue in queues:
        queue.put(None)
    for worker in workers:
        worker.join()
    return seconds


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
