"""Compare the time of a round to a plain PyTorch loop: `python -m tests.benchmarks.round_time`.

Both have the same workload: 100 clients with 100 generated images each, 10 clients a round, 5 epochs, batch size 20,
the CNN with 21,840 parameters, SGD with momentum. The plain loop uses as many processes with one thread as
Sparsefleet has pooled actors. It has no orchestration, no evaluation and no tracking. Sparsefleet writes checkpoints
and writes to MLflow. The two alternate several times within one command. Prints the medians and their ratio.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

NUM_CLIENTS, PER_ROUND, SAMPLES, EPOCHS, BATCH, LR, MOMENTUM = 100, 10, 100, 5, 20, 0.01, 0.9
Weights = dict[str, Tensor]


def make_images() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images float32[10000, 1, 28, 28] around ten prototypes, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, NUM_CLIENTS * SAMPLES)
    prototypes = rng.normal(size=(10, 1, 28, 28))
    images = prototypes[labels] * 0.5 + rng.normal(size=(len(labels), 1, 28, 28))
    return images.astype(np.float32), labels


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
    images, labels = (torch.from_numpy(array) for array in make_images())
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


def sparsefleet_rounds(
    folder: Path, num_actors: int, num_rounds: int, algorithm: str, *, profile: bool = False
) -> list[float]:
    """Run Sparsefleet on pooled actors with MLflow on, and return the seconds of each round from the run's log.

    With `profile`, print what the time of the rounds was spent on; the first two rounds do not count.
    """
    from rich.console import Console

    from orchestrator import ExperimentConfig, run
    from orchestrator.cli.views.profile_table import profile_table
    from orchestrator.display.run_progress import Progress
    from orchestrator.tracking.record import read_records

    images, labels = make_images()
    owners = np.repeat(np.arange(NUM_CLIENTS), SAMPLES)
    data = folder / "workload.npz"
    np.savez(data, x=images, y=labels, client_ids=owners, x_test=images[:100], y_test=labels[:100],
             client_ids_test=np.arange(100))  # fmt: skip
    tree: dict[str, Any] = {
        "algorithm": {"name": algorithm},
        "data": {
            "name": "npz",
            "root": str(data),
            "validation_fraction": 0.0,
            "partition": {"kind": "natural"},
        },
        "model": {"name": "cnn_mnist"},
        "fleet": {"num_clients": NUM_CLIENTS},
        "training": {
            "rounds": num_rounds,
            "clients_per_round": PER_ROUND,
            "local_epochs": EPOCHS,
            "batch_size": BATCH,
            "lr": LR,
            "momentum": MOMENTUM,
            "eval_every": num_rounds,
        },
        "runtime": {
            "actors": "pooled",
            "pool_size": num_actors,
            "storage": str(folder / "runs"),
            "profile": profile,
        },
    }
    summary = run(ExperimentConfig.parse(tree), Progress(quiet=True))
    records = read_records(folder / "runs" / summary.run_id / "metrics.jsonl")
    if (table := profile_table(record.metrics for record in records[2:])) is not None:
        Console(width=100).print(table)
    return [record.metrics["time/wall_s"] for record in records]


def main() -> None:
    """Print the medians and their ratio, as text and as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--actors", type=int, default=os.cpu_count())
    parser.add_argument("--algorithm", default="fedavg")
    parser.add_argument("--profile", action="store_true", help="print what Sparsefleet's rounds are spent on")
    arguments = parser.parse_args()
    plain: list[float] = []
    ours: list[float] = []
    ratios: list[float] = []
    for repeat in range(arguments.repeats):
        a = plain_rounds(arguments.actors, arguments.rounds)[2:]
        with tempfile.TemporaryDirectory() as folder:
            b = sparsefleet_rounds(
                Path(folder),
                arguments.actors,
                arguments.rounds,
                arguments.algorithm,
                profile=arguments.profile,
            )[2:]
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
