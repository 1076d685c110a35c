"""The workload of the benchmarks of a round as a plain PyTorch loop, in several processes with one thread each."""

import multiprocessing
import time
from multiprocessing.queues import Queue

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from tests.benchmarks.workload import BATCH, EPOCHS, LR, MOMENTUM, NUM_CLIENTS, Workload

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
