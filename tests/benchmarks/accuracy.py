"""Compare the methods on real data: `python -m tests.benchmarks.accuracy mnist --out results.jsonl`.

SPARSEFLEET_TEST_DATA names a folder with `MNIST/raw` and `cifar10/*.parquet`. Each run has its own process, and
`--jobs` runs run at the same time. Runs whose results are already in the file are not repeated, so that an
interrupted comparison can be resumed. Prints a table with mean and standard deviation over the seeds.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

from orchestrator.config.overrides import apply_overrides
from orchestrator.execution.executor import InProcessExecutor
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.prepare import prepare
from orchestrator.rounds.driver import Driver
from orchestrator.storage.run_store import RunStore

Options = Mapping[str, object]


@dataclass(frozen=True)
class Comparison:
    """Runs with common options `base` and different `variants`; `columns` are metrics of the last round."""

    base: Options
    variants: Mapping[str, Options]
    columns: tuple[str, ...]


_QUIET = {"runtime.executor": "inprocess", "tracking.enabled": False}
_PERSONAL = (
    "personal/accuracy_mean",
    "personal/accuracy_p10",
    "personal/accuracy_min",
    "trained/accuracy_mean",
    "finetuned/accuracy_mean",
    "eval/accuracy",
    "time/emulated_s_total",
    "comm/upload_bytes_total",
    "compute/train_flops_total",
)
_GLOBAL = ("eval/accuracy", "eval/loss", "comm/upload_bytes_total", "compute/train_flops_total")
#: FedLPS's setting (arXiv 2412.07216): two shards of 100 images per client, 10 % of them for validation
_MNIST = {
    **_QUIET,
    "data.name": "mnist",
    "data.partition.kind": "shards",
    "data.partition.shard_size": 100,
    "data.partition.classes_per_client": 2,
    "model.name": "cnn_mnist",
    "fleet.name": "five-tier",
    "fleet.num_clients": 100,
    "training.clients_per_round": 10,
    "training.local_epochs": 5,
    "training.batch_size": 32,
    "training.lr": 0.1,
    "training.lr_decay": 0.998,
    "training.momentum": 0.0,
    "training.weight_decay": 1.2e-6,
    "training.rounds": 100,
    "training.eval_every": 100,
    "evaluation.finetune_epochs": 5,
}
#: without norm layers the Scaler multiplies gradients by 1 / ratio for each layer; both methods do better without it
_NO_SCALER = {"algorithm.scaler": False}
_FEDLPS = {"algorithm.name": "fedlps"}
_AS_CODED = {"algorithm.name": "fedlps_as_coded"}
_SUBMODELS = {"algorithm.name": "local_submodel"}


def _capped(ratio: float) -> Options:
    return {**_FEDLPS, "algorithm.ratio_policy": "capped", "algorithm.ratio": ratio}


#: FedDST's setting (arXiv 2112.09824) with fewer rounds: 400 clients with two shards of 20 images each
_CIFAR = {
    **_QUIET,
    "data.name": "parquet",
    "data.partition.kind": "shards",
    "data.partition.shard_size": 20,
    "data.partition.classes_per_client": 2,
    "data.validation_fraction": 0.0,
    "model.name": "lenet_cifar",
    "fleet.num_clients": 400,
    "training.clients_per_round": 20,
    "training.local_epochs": 10,
    "training.batch_size": 32,
    "training.lr": 0.01,
    "training.momentum": 0.9,
    "training.weight_decay": 0.001,
}
#: 1.75 GB of upload each: a dense round uploads five times as much as a round at a sparsity of 0.8
_DENSE_ROUNDS = {"training.rounds": 28, "training.eval_every": 4}
_SPARSE_ROUNDS = {"sparsity.level": 0.8, "training.rounds": 140, "training.eval_every": 20}
_FEDAVGM = {"algorithm.name": "fedavgm", **_DENSE_ROUNDS}

COMPARISONS: dict[str, Comparison] = {
    "mnist": Comparison(
        _MNIST,
        {
            "FedLPS, bandit": _FEDLPS,
            "FedLPS, at most 1/2": _capped(0.5),
            "FedLPS, at most 1/5": _capped(0.2),
            "FedLPS as coded": _AS_CODED,
            "local, device's size": _SUBMODELS,
            "local, full size": {"algorithm.name": "local", "algorithm.participation": "sampled"},
            "FedAvg": {"algorithm.name": "fedavg"},
            "HeteroFL": {"algorithm.name": "heterofl", **_NO_SCALER},
            "FedRolex": {"algorithm.name": "fedrolex", **_NO_SCALER},
        },
        _PERSONAL,
    ),
    "redrawn": Comparison(
        {**_MNIST, "fleet.redraw": True},
        {
            "FedLPS, at most 1/2": _capped(0.5),
            "FedLPS, at most 1/5": _capped(0.2),
            "FedLPS as coded": _AS_CODED,
            "local, device's size": _SUBMODELS,
        },
        _PERSONAL,
    ),
    "patterns": Comparison(
        _MNIST,
        {
            pattern: {**_capped(0.5), "algorithm.pattern": pattern}
            for pattern in ("learned", "magnitude", "ordered", "random")
        },
        _PERSONAL,
    ),
    "cifar10": Comparison(
        _CIFAR,
        {
            "FedDST": {
                "algorithm.name": "feddst",
                "algorithm.alpha": 0.01,
                "algorithm.readjust_every": 15,
                **_SPARSE_ROUNDS,
            },
            "RandomMask": {"algorithm.name": "randommask", **_SPARSE_ROUNDS},
            "FedAvg": {"algorithm.name": "fedavg", **_DENSE_ROUNDS},
            "FedAvgM, tuned": {**_FEDAVGM, "algorithm.server_momentum": 0.5},
        },
        _GLOBAL,
    ),
    "fedavgm": Comparison(
        _CIFAR,
        {
            f"momentum {momentum:g}, lr {lr:g}": {
                **_FEDAVGM,
                "algorithm.server_momentum": momentum,
                "algorithm.server_lr": lr,
            }
            for momentum, lr in ((0.3, 1.0), (0.5, 1.0), (0.7, 1.0), (0.9, 1.0), (0.9, 0.3), (0.9, 0.1))
        },
        _GLOBAL,
    ),
}


def run_one(options: Options) -> list[dict[str, float]]:
    """Make one run, and return the metrics of every evaluated round."""
    items = [f"{key}={value}" for key, value in options.items()]
    experiment = prepare(ExperimentConfig.parse(apply_overrides({}, items)))
    with tempfile.TemporaryDirectory() as folder:
        driver = Driver(experiment, InProcessExecutor(experiment), RunStore(Path(folder)))
        records = [(record.round_idx, record.metrics) for record in driver.run()]
    return [{"round_idx": r, **metrics} for r, metrics in records if "eval/accuracy" in metrics]


def missing_runs(name: str, seeds: int, done: Mapping[str, object]) -> Iterator[tuple[str, Options]]:
    """Yield (key, options) of each missing run, seed by seed."""
    comparison = COMPARISONS[name]
    root = Path(os.environ["SPARSEFLEET_TEST_DATA"])
    data = root if comparison.base["data.name"] == "mnist" else root / "cifar10"
    for seed in range(seeds):
        for label, variant in comparison.variants.items():
            if (key := f"{name}/{label}/{seed}") not in done:
                yield key, {**comparison.base, "data.root": data, **variant, "seed": seed}


def table(name: str, done: Mapping[str, list[dict[str, float]]]) -> str:
    """Return the comparison as a Markdown table over the available seeds."""
    comparison = COMPARISONS[name]
    lines = [f"| | seeds | rounds | {' | '.join(comparison.columns)} |"]
    lines.append("| --- " * (len(comparison.columns) + 3) + "|")
    for label in comparison.variants:
        runs = [rounds[-1] for key, rounds in done.items() if key.startswith(f"{name}/{label}/")]
        if runs:
            cells = [
                _spread([run.get(column, float("nan")) for run in runs]) for column in comparison.columns
            ]
            num_rounds = int(runs[0]["round_idx"]) + 1
            lines.append(f"| {label} | {len(runs)} | {num_rounds} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: list[float]) -> str:
    deviation = f" ± {stdev(values):.2g}" if len(values) > 1 else ""
    return f"{mean(values):.4g}{deviation}"


def main() -> None:
    """Make the missing runs, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines file; its runs are not repeated")
    arguments = parser.parse_args()
    done: dict[str, list[dict[str, float]]] = {}
    if arguments.out.exists():
        done = {r["key"]: r["rounds"] for r in map(json.loads, arguments.out.read_text().splitlines())}
    todo = dict(missing_runs(arguments.comparison, arguments.seeds, done))
    with ProcessPoolExecutor(arguments.jobs, max_tasks_per_child=1) as pool:
        futures = {pool.submit(run_one, options): key for key, options in todo.items()}
        for number, future in enumerate(as_completed(futures), start=1):
            key = futures[future]
            if (error := future.exception()) is not None:
                print(f"{number} of {len(todo)}: {key} failed: {error}", flush=True)
                continue
            done[key] = future.result()
            with arguments.out.open("a") as file:
                file.write(json.dumps({"key": key, "rounds": done[key]}) + "\n")
            print(f"{number} of {len(todo)}: {key}", flush=True)
    print(table(arguments.comparison, done))
    if missing := todo.keys() - done.keys():
        raise SystemExit(f"without a result: {', '.join(sorted(missing))}")


if __name__ == "__main__":
    main()
