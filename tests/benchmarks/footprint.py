"""Measure the cost of one client actor, and of 24: `python -m tests.benchmarks.footprint`.

Prints the CPU seconds of a client actor until it has trained one client, its memory at that time (shared pages divided
among the processes that share them), and what a torch.optim optimiser adds to both. Then starts a dedicated actor for
each of 24 clients (`--clients`), finds all of them with their footprints in Ray's state API, and prints the time that
this took and their memory.
"""

import argparse
import json
import resource
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray
from ray.util.state import list_actors

from orchestrator.config.runtime import RuntimeConfig
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.placement import place_clients
from orchestrator.execution.ray_actors import end_actors
from orchestrator.execution.ray_capacity import cluster_capacity
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.runtime.ray_backend import RayBackend
from orchestrator.runtime.ray_session import ray_session
from tests.support.fakes import DEVICE
from tests.support.fleets import with_profiles
from tests.support.runs import initial_state

TINY = replace(DEVICE, name="tiny", num_cpus=0.04)


class MeasuredActor:
    """A client actor that also measures its CPU time and memory."""

    def __init__(self, experiment: Experiment) -> None:
        self._runner = ClientRunner(experiment)

    def train(self, buffer: NDArray[np.uint8]) -> bool:
        """Train client 0 once."""
        task = ClientTask(round_idx=0, position=0, client_id=0)
        return isinstance(self._runner.run(task, buffer, np.empty(0, np.uint8), None), ClientUpdate)

    def build_torch_optimizer(self) -> None:
        """Build an optimiser of torch, which the local engine does not use."""
        torch.optim.SGD([torch.zeros(1)], lr=0.1)

    def usage(self) -> tuple[float, float]:
        """Return the CPU seconds so far and the present memory in MiB."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime, proportional_mib()


def proportional_mib(pid: int | str = "self") -> float:
    """Return the memory of a process in MiB, with shared pages divided among their users."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10


def one_actor(experiment: Experiment) -> dict[str, Any]:
    """Return CPU time and memory of an actor that has trained once, and what an optimiser of torch adds."""
    actor: Any = ray.remote(MeasuredActor).options(num_cpus=0.1).remote(ray.put(experiment))
    state = initial_state(experiment)
    assert ray.get(actor.train.remote(Broadcast.of(experiment, state).message.buffer))
    cpu_s, resident = ray.get(actor.usage.remote())
    ray.get(actor.build_torch_optimizer.remote())
    cpu_more_s, resident_more = ray.get(actor.usage.remote())
    end_actors([actor])
    return {
        "actor_cpu_s": round(cpu_s, 2),
        "actor_proportional_mib": round(resident),
        "torch_optim_extra_cpu_s": round(cpu_more_s - cpu_s, 2),
        "torch_optim_extra_mib": round(resident_more - resident),
    }


def full_round(num_clients: int) -> Experiment:
    """Return an experiment with one round of FedAvg, in which all clients take part with 0.04 CPU each."""
    overrides = {
        "algorithm": {"name": "fedavg"},
        "fleet": {"num_clients": num_clients},
        "training": {"rounds": 1, "clients_per_round": num_clients, "local_epochs": 1},
        "runtime": {"actors": "dedicated"},
        "tracking": {"enabled": False},
    }
    return with_profiles(prepare(ExperimentConfig.parse(overrides)), [TINY])


def many_actors(num_clients: int, folder: Path) -> dict[str, Any]:
    """Start a dedicated actor for every client, train all clients, and measure the actors."""
    experiment, capacity = full_round(num_clients), cluster_capacity()
    default_placement = place_clients(RuntimeConfig(), capacity, experiment.setting.population, num_clients)
    folder.mkdir(parents=True, exist_ok=True)
    started_s = time.perf_counter()
    backend = RayBackend(experiment, folder)
    try:
        backend.ready()
        ready_s = time.perf_counter() - started_s
        list(backend.records())
        found = named_actors(folder.name)
        assert found.keys() == {f"{folder.name}/client-{k}" for k in range(num_clients)}
        assert all(dict(actor.required_resources) == TINY.footprint() for actor in found.values())
        used = [proportional_mib(actor.pid) for actor in found.values()]
    finally:
        backend.close()
    return {
        "embodiment": backend.description,
        "auto_would_take": str(default_placement),
        "cores": capacity.total("CPU"),
        "ray_memory_gib": round(capacity.total("memory") / 2**30, 1),
        "each_reserves": TINY.footprint(),
        "until_ready_s": round(ready_s, 1),
        "proportional_mib_mean": round(sum(used) / len(used)),
        "proportional_mib_max": round(max(used)),
        "proportional_gib_total": round(sum(used) / 2**10, 1),
    }


def named_actors(run_id: str) -> dict[str, Any]:
    """Return the living client actors of a run by name, as Ray's state API lists them."""
    alive: list[Any] = list_actors(
        address=ray.get_runtime_context().gcs_address,
        filters=[("state", "=", "ALIVE"), ("class_name", "=", "ClientActor")],
        limit=10_000,
        detail=True,
    )
    return {actor.name: actor for actor in alive if actor.name.startswith(f"{run_id}/")}


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clients", type=int, default=24, help="number of dedicated actors; 0 skips this part"
    )
    num_clients = parser.parse_args().clients
    with TemporaryDirectory() as storage, ray_session(RuntimeConfig(dashboard=True)):
        result = one_actor(prepare(ExperimentConfig()))
        if num_clients:
            result["dedicated"] = many_actors(num_clients, Path(storage) / "dedicated")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
