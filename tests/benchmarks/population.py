"""Compare a million clients to a thousand: `python -m tests.benchmarks.population`.

Both populations repeat the data of the same 200 clients, 100 clients take part in a round, and all other settings are
equal. The runs alternate several times in one Ray. Prints for each run the time until it is ready (data, partition,
fleet, actors), the driver actor's memory before the last round, and the median time of a round; then the ratios.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ray
from ray.util.state import list_actors

from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.prepare import prepare
from orchestrator.runtime.ray_backend import RayBackend
from orchestrator.runtime.ray_session import ray_session
from tests.benchmarks.footprint import proportional_mib

#: bounds: seconds until ready, MiB over the small run, and the round's ratio
READY_S, DRIVER_MIB, ROUND_RATIO = 15.0, 1536.0, 1.10


def config(num_clients: int, rounds: int, algorithm: str) -> ExperimentConfig:
    """Return a config with 100 of `num_clients` clients a round on two pooled actors, evaluated only at the end."""
    return ExperimentConfig.parse(
        {
            "algorithm": {"name": algorithm},
            "data": {
                "partition": {"kind": "shards", "shard_size": 3, "distinct_clients": 200},
                "validation_fraction": 0.0,
            },
            "fleet": {"num_clients": num_clients, "name": "five-tier"},
            "training": {
                "rounds": rounds,
                "clients_per_round": 100,
                "local_epochs": 5,
                "batch_size": 3,
                "eval_every": rounds,
            },
            "runtime": {"actors": "pooled", "pool_size": 2, "dashboard": True},
            "tracking": {"enabled": False},
        }
    )


def one_run(num_clients: int, rounds: int, algorithm: str, folder: Path) -> dict[str, float]:
    """Make a run; return seconds until ready, driver memory in MiB, and the median round without first two and last."""
    started_s = time.perf_counter()
    experiment = prepare(config(num_clients, rounds, algorithm))
    folder.mkdir()
    backend = RayBackend(experiment, folder)
    try:
        backend.ready()
        ready_s = time.perf_counter() - started_s
        seconds, memory_mib = list[float](), 0.0
        for record in backend.records():
            seconds.append(record.metrics["time/wall_s"])
            if record.round_idx == rounds - 2:
                memory_mib = proportional_mib(driver_pid(folder.name))
    finally:
        backend.close()
    return {
        "ready_s": ready_s,
        "driver_mib": memory_mib,
        "round_s": statistics.median(seconds[2:-1]),
    }


def driver_pid(run_id: str) -> int:
    """Return the process id of a run's driver actor from Ray's state API."""
    found: list[Any] = list_actors(
        address=ray.get_runtime_context().gcs_address,
        filters=[("state", "=", "ALIVE"), ("class_name", "=", "DriverActor")],
        detail=True,
    )
    return next(int(actor.pid) for actor in found if actor.name == f"{run_id}/driver")


def main() -> None:
    """Print each run as it ends, and one JSON object with the ratios and bounds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--algorithm", default="fedavg")
    arguments = parser.parse_args()
    runs: dict[int, list[dict[str, float]]] = {1_000: [], arguments.clients: []}
    with TemporaryDirectory() as folder, ray_session(config(1_000, 1, arguments.algorithm).runtime):
        for repeat in range(arguments.repeats):
            for num_clients, measured in runs.items():
                name = f"run-{num_clients}-{repeat}"
                measured.append(
                    one_run(num_clients, arguments.rounds, arguments.algorithm, Path(folder) / name)
                )
                print(name, {key: round(value, 3) for key, value in measured[-1].items()}, flush=True)
    few, many = (
        {key: statistics.median(run[key] for run in measured) for key in measured[0]}
        for measured in runs.values()
    )
    ratios = [m["round_s"] / f["round_s"] for f, m in zip(*runs.values(), strict=True)]
    result = {
        "clients": arguments.clients,
        "ready_s": round(many["ready_s"], 2),
        "driver_mib_more": round(many["driver_mib"] - few["driver_mib"]),
        "round_ratio": round(statistics.median(ratios), 3),
        "bounds": {"ready_s": READY_S, "driver_mib_more": DRIVER_MIB, "round_ratio": ROUND_RATIO},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
