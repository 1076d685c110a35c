"""What one client actor costs, and two dozen of them: `python -m tests.benchmarks.footprint`.

Prints the CPU seconds that a client actor has used by the time it has trained one client, its memory then
(shared pages divided among the processes that share them), and what building a torch.optim optimiser would
have added to both. Then gives each of 24 clients (`--clients`) a dedicated actor, finds them all by name in
Ray's state API with the footprints they reserve, and prints how long that took and what memory they have.
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
from orchestrator.execution.placement import place
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
from orchestrator.storage.run_store import RunStore
from tests.support.fakes import DEVICE
from tests.support.fleets import with_profiles

TINY = replace(DEVICE, name="tiny", num_cpus=0.04)


class MeasuredActor:
    """A client actor that also tells what it has used."""

    def __init__(self, experiment: Experiment) -> None:
        self._host = ClientRunner(experiment)

    def train(self, buffer: NDArray[np.uint8]) -> bool:
        """Train client 0 once."""
        task = ClientTask(round_idx=0, position=0, client_id=0)
        return isinstance(self._host.run(task, buffer, np.empty(0, np.uint8), None), ClientUpdate)

    def build_torch_optimizer(self) -> None:
        """What the local engine avoids."""
        torch.optim.SGD([torch.zeros(1)], lr=0.1)

    def usage(self) -> tuple[float, float]:
        """CPU seconds so far, and MiB now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime, proportional_mib()


def proportional_mib(pid: int | str = "self") -> float:
    """MiB of a process now: its share of resident memory (shared pages divided among users)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10


def one_actor(experiment: Experiment) -> dict[str, Any]:
    """CPU and memory of an actor that has trained once, and what an optimiser of torch's would add."""
    actor: Any = ray.remote(MeasuredActor).options(num_cpus=0.1).remote(ray.put(experiment))
    state = experiment.algorithm.init(torch.from_numpy(experiment.initial.copy()))
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


def all_for_one(num_clients: int) -> Experiment:
    """One round of FedAvg in which every client of a population of 0.04 CPU each takes part."""
    overrides = {
        "algorithm": {"name": "fedavg"},
        "fleet": {"num_clients": num_clients},
        "training": {"rounds": 1, "clients_per_round": num_clients, "local_epochs": 1},
        "runtime": {"actors": "dedicated"},
        "tracking": {"enabled": False},
    }
    return with_profiles(prepare(ExperimentConfig.parse(overrides)), [TINY])


def many_actors(num_clients: int, folder: Path) -> dict[str, Any]:
    """A dedicated, named actor for every client, once all of them have trained."""
    experiment, capacity = all_for_one(num_clients), cluster_capacity()
    left_to_itself = place(RuntimeConfig(), capacity, experiment.setting.population, num_clients)
    RunStore(folder)
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
        "auto_would_take": str(left_to_itself),
        "cores": capacity.total("CPU"),
        "ray_memory_gib": round(capacity.total("memory") / 2**30, 1),
        "each_reserves": TINY.footprint(),
        "until_ready_s": round(ready_s, 1),
        "proportional_mib_mean": round(sum(used) / len(used)),
        "proportional_mib_max": round(max(used)),
        "proportional_gib_total": round(sum(used) / 2**10, 1),
    }


def named_actors(run_id: str) -> dict[str, Any]:
    """The living client actors of a run as Ray's state API lists them, by name."""
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
    parser.add_argument("--clients", type=int, default=24, help="dedicated actors; 0: leave that part out")
    num_clients = parser.parse_args().clients
    with TemporaryDirectory() as storage, ray_session(RuntimeConfig(dashboard=True)):
        result = one_actor(prepare(ExperimentConfig()))
        if num_clients:
            result["dedicated"] = many_actors(num_clients, Path(storage) / "dedicated")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
