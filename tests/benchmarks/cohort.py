"""Compare clients that train together with clients that train one by one: `python -m tests.benchmarks.cohort`.

The clients of the benchmarks' workload (tests/benchmarks/workload.py) train in this process, on a GPU if torch finds
one, else on one thread of the CPU. The two ways alternate. Seconds are wall-clock seconds on a GPU, and CPU time of
this process on a CPU, so that other processes matter less. Prints the medians, their ratio, and the largest difference
between the trained models as a share of the largest value.
"""

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from orchestrator.execution.bundles.runner import BundleRunner
from orchestrator.execution.client import ClientRunner
from orchestrator.execution.executor import TaskRequest
from orchestrator.experiment.config import ExperimentConfig
from orchestrator.experiment.experiment import Experiment
from orchestrator.experiment.prepare import prepare
from orchestrator.federation.exchange import unpack_model
from orchestrator.federation.update import ClientUpdate
from orchestrator.rounds.broadcast import Broadcast
from orchestrator.sparsity.wire import decode
from tests.benchmarks.workload import Workload
from tests.support.fleets import with_population
from tests.support.runs import initial_state

#: one by one / together, for 50 clients on a GPU
TARGET = 8.0


def experiment_of(model: str, cohort: int, folder: Path, *, epochs: int) -> Experiment:
    """Return the workload's experiment, with every client on a whole GPU if torch finds one."""
    tree = Workload(per_round=cohort).config(folder, 1)
    tree["model"]["name"] = model
    tree["training"]["local_epochs"] = epochs
    tree["runtime"] = {"executor": "inprocess", "cohort": cohort}
    experiment = prepare(ExperimentConfig.parse(tree))
    population, num_gpus = experiment.setting.population, float(torch.cuda.is_available())
    profiles = tuple(replace(profile, num_gpus=num_gpus) for profile in population.profiles)
    return with_population(experiment, replace(population, profiles=profiles))


class Contest:
    """Both ways to train the same clients."""

    def __init__(self, experiment: Experiment, cohort: int) -> None:
        state = initial_state(experiment)
        self._experiment, self._message = experiment, Broadcast.of(experiment, state).message.buffer
        tasks = experiment.algorithm.plan(state, 0, tuple(range(cohort))).tasks
        self._requests = [TaskRequest(task, None) for task in tasks]
        self._runner = ClientRunner(experiment)
        self._bundles = BundleRunner(experiment, self._runner)

    def one_by_one(self) -> list[np.ndarray]:
        """Train one client after another; their models."""
        return [
            self._model(self._runner.run(each.task, self._message, each.unicast, None))
            for each in self._requests
        ]

    def together(self) -> list[np.ndarray]:
        """Train all clients together; their models."""
        return [self._model(outcome) for outcome in self._bundles.run(self._requests, self._message)]

    def _model(self, outcome: object) -> np.ndarray:
        assert isinstance(outcome, ClientUpdate), outcome
        model = unpack_model(self._experiment.setting.layout, decode(outcome.buffer))
        assert model is not None
        return model.values.numpy()


def now_s() -> float:
    """Wall-clock seconds on a GPU, after its work is done; CPU seconds of this process without a GPU."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def main() -> None:
    """Print the medians and their ratio, as text and as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cohort", type=int, default=50, help="number of clients, at most 100")
    parser.add_argument("--model", default="cnn_mnist")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        experiment = experiment_of(arguments.model, arguments.cohort, Path(folder), epochs=arguments.epochs)
        contest = Contest(experiment, arguments.cohort)
        seconds: dict[str, list[float]] = {"one by one": [], "together": []}
        models = {}
        for repeat in range(arguments.repeats + 1):
            for name, train in (("one by one", contest.one_by_one), ("together", contest.together)):
                began_s = now_s()
                models[name] = np.stack(train())
                if repeat:  # the first one builds models and loads kernels
                    seconds[name].append(now_s() - began_s)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["one by one"] / medians["together"]
    difference = np.abs(models["one by one"] - models["together"]).max() / np.abs(models["one by one"]).max()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU, one thread"
    print(f"{arguments.cohort} clients of {arguments.model} on {device}")
    for name, value in medians.items():
        print(f"  {name}: {value:.3f} s")
    print(f"  one by one / together: {ratio:.2f} (target on a GPU: {TARGET:g}); difference {difference:.1e}")
    print(json.dumps({"device": device, "ratio": round(ratio, 3), "difference": float(difference)}))


if __name__ == "__main__":
    main()
