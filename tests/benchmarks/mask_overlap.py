"""Compare SSFL's mask with the mask from all data: `python -m tests.benchmarks.mask_overlap --data DIR`.

Each client scores every weight on its own mini-batches, the server averages the scores, and the mask keeps the weights
with the largest scores (arXiv 2405.09037). The benchmark compares this mask with two masks for which all samples are in
one place: that of the same scores on mini-batches from all clients together, and that of the gradient of all samples.
It prints, for each number of mini-batches of a client, the share of the kept weights that two masks have in common.
Nothing is trained.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from orchestrator import ExperimentConfig
from orchestrator.execution.device_environment import DeviceEnvironment
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.exchange import ModelValues
from orchestrator.federation.local.run import LocalRun
from orchestrator.federation.plan import ClientTask
from orchestrator.sparsity.scores import keep_top_overall
from orchestrator.studies.data_needs import data_config

NUM_CLIENTS, BATCH = 100, 16
BATCHES = (1, 2, 5, 10, 20, 50, 100, 200)


def experiment_of(data: Path, model: str, alpha: float, density: float, seed: int) -> Experiment:
    """SSFL on CIFAR-10 with a balanced Dirichlet partition."""
    return prepare(
        ExperimentConfig.parse(
            {
                "algorithm": {"name": "ssfl"},
                "sparsity": {"level": 1.0 - density},
                "data": {
                    **data_config("cifar10", data),
                    "partition": {"kind": "balanced_dirichlet", "alpha": alpha},
                },
                "model": {"name": model},
                "fleet": {"num_clients": NUM_CLIENTS},
                "training": {"batch_size": BATCH, "clients_per_round": 10},
                "seed": seed,
            }
        )
    )


def start_run(experiment: Experiment, client: int) -> LocalRun[None]:
    """A probe of a client with the initial model loaded, in evaluation mode as SSFL scores."""
    run: LocalRun[None] = LocalRun(
        setting=experiment.setting,
        task=ClientTask(round_idx=0, position=client, client_id=client, kind="probe"),
        environment=DeviceEnvironment(experiment, torch.device("cpu")),
        received=ModelValues(torch.from_numpy(experiment.setting.initial.copy()), None),
        payload=(),
        state=None,
    )
    experiment.algorithm.load(run)
    run.flat.module.eval()
    return run


def gradient(run: LocalRun[None], inputs: Tensor, labels: Tensor) -> Tensor:
    """float32[T]: gradient of the mean loss."""
    run.flat.grad.zero_()
    cross_entropy(run.flat(inputs), labels).backward()  # type: ignore[no-untyped-call]
    return run.flat.grad.clone()


def random_batches(
    inputs: Tensor, labels: Tensor, rng: np.random.Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    """Mini-batches without an end, each a random choice of the samples."""
    while True:
        rows = torch.from_numpy(rng.permutation(len(labels))[:BATCH])
        yield inputs[rows], labels[rows]


def score_sums(
    run: LocalRun[None], inputs: Tensor, labels: Tensor, rng: np.random.Generator, counts: Sequence[int]
) -> list[Tensor]:
    """The mean of |gradient x weight| over the first `count` mini-batches, float32[T] for each of the counts."""
    weights, total, means = run.values[: run.grad.numel()].clone(), torch.zeros(run.grad.numel()), []
    batches = random_batches(inputs, labels, rng)
    for number in range(1, max(counts) + 1):
        total += (gradient(run, *next(batches)) * weights).abs()
        if number in counts:
            means.append(total / number)
    return means


def overlaps(
    experiment: Experiment, num_clients: int, counts: Sequence[int]
) -> list[tuple[int, float, float]]:
    """For each number of mini-batches: the overlap with the mask of pooled mini-batches and of the whole gradient."""
    layout = experiment.setting.layout
    num_kept = int(experiment.algorithm.density(0) * layout.num_maskable)
    rng = np.random.default_rng(0)
    parts = []
    sums = [torch.zeros(layout.num_trainable) for _ in counts]
    whole, num_samples = torch.zeros(layout.num_trainable), 0
    for client in range(num_clients):
        run = start_run(experiment, client)
        inputs, labels = run.data.epoch(rng)
        parts.append((inputs, labels))
        for total, mean in zip(sums, score_sums(run, inputs, labels, rng, counts), strict=True):
            total += len(labels) * mean
        for x, y in zip(inputs.split(BATCH), labels.split(BATCH), strict=True):
            whole += len(y) * gradient(run, x, y)
        num_samples += len(labels)
    pooled_inputs, pooled_labels = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    (pooled,) = score_sums(run, pooled_inputs, pooled_labels, rng, [min(2000, num_clients * max(counts))])
    weights = torch.from_numpy(experiment.setting.initial[: layout.num_trainable].copy())

    def mask(scores: Tensor) -> Tensor:
        return keep_top_overall(layout, layout.restrict(scores), num_kept)

    references = mask(pooled), mask((whole / num_samples * weights).abs())
    result = []
    for count, total in zip(counts, sums, strict=True):
        kept = layout.restrict(mask(total))
        shares = [float((kept & layout.restrict(other)).sum()) / num_kept for other in references]
        result.append((count, shares[0], shares[1]))
    return result


def main() -> None:
    """Print a table for each alpha, and one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with CIFAR-10")
    parser.add_argument("--model", default="lenet_cifar")
    parser.add_argument("--density", type=float, default=0.1)
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.3, 1.0])
    parser.add_argument("--clients", type=int, default=NUM_CLIENTS, help="score the first of the 100 clients")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for alpha in arguments.alphas:
        experiment = experiment_of(arguments.data, arguments.model, alpha, arguments.density, arguments.seed)
        found[alpha] = overlaps(experiment, arguments.clients, arguments.batches)
        for count, pooled, whole in found[alpha]:
            print(f"alpha {alpha}, {count} mini-batches: {pooled:.3f} of the mask of pooled mini-batches, "
                  f"{whole:.3f} of that of the whole gradient", flush=True)  # fmt: skip
    print(json.dumps({"model": arguments.model, "density": arguments.density, "overlaps": found}))


if __name__ == "__main__":
    main()
