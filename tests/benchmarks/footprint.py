"""What one client actor costs: `python -m tests.benchmarks.footprint`.

Prints the CPU seconds that a client actor has used by the time it has trained one client, its memory then
(shared pages divided among the processes that share them), and what building a torch.optim optimiser would
have added to both.
"""

import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from orchestrator.config import ExperimentConfig
from orchestrator.federation.plan import ClientTask
from orchestrator.federation.update import ClientUpdate
from orchestrator.runtime.broadcast import Broadcast
from orchestrator.runtime.client import ClientHost
from orchestrator.runtime.experiment import Experiment, prepare
from orchestrator.runtime.ray_backend import ray_session


class MeasuredActor:
    """A client actor that also tells what it has used."""

    def __init__(self, experiment: Experiment) -> None:
        self._host = ClientHost(experiment)

    def train(self, buffer: NDArray[np.uint8]) -> bool:
        """Train client 0 once."""
        task = ClientTask(round_idx=0, position=0, client_id=0)
        return isinstance(self._host.run(task, buffer, np.empty(0, np.uint8), None), ClientUpdate)

    def build_torch_optimizer(self) -> None:
        """What the local engine avoids."""
        import torch

        torch.optim.SGD([torch.zeros(1)], lr=0.1)

    def usage(self) -> tuple[float, float]:
        """CPU seconds so far, and MiB now: its share of resident memory (shared pages divided among users)."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        kib = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return used.ru_utime + used.ru_stime, kib / 2**10


def main() -> None:
    """Print one JSON object."""
    experiment = prepare(ExperimentConfig())
    with ray_session(experiment.config.runtime):
        actor: Any = ray.remote(MeasuredActor).options(num_cpus=0.1).remote(ray.put(experiment))
        state = experiment.algorithm.init(_initial(experiment))
        assert ray.get(actor.train.remote(Broadcast.of(experiment, state).message.buffer))
        cpu_s, resident = ray.get(actor.usage.remote())
        ray.get(actor.build_torch_optimizer.remote())
        cpu_more_s, resident_more = ray.get(actor.usage.remote())
    result = {
        "actor_cpu_s": round(cpu_s, 2),
        "actor_proportional_mib": round(resident),
        "torch_optim_extra_cpu_s": round(cpu_more_s - cpu_s, 2),
        "torch_optim_extra_mib": round(resident_more - resident),
    }
    print(json.dumps(result))


def _initial(experiment: Experiment) -> Any:
    import torch

    return torch.from_numpy(experiment.initial.copy())


if __name__ == "__main__":
    main()
