"""The demo for new users: FedDST against FedAvg, with all other settings equal."""

from pathlib import Path
from typing import Any

from orchestrator.experiment.config import ExperimentConfig
from orchestrator.runtime import session
from orchestrator.runtime.run_execution import Display
from orchestrator.runtime.tracking.setup import check_storage_and_tracking
from orchestrator.storage.summary import RunSummary

#: config of both runs: the bundled digits, partitioned unevenly over twenty clients
DEMO: dict[str, Any] = {
    "seed": 0,
    "data": {"name": "digits", "partition": {"kind": "dirichlet", "alpha": 0.5}},
    "fleet": {"num_clients": 20},
    "training": {"rounds": 40, "clients_per_round": 5, "local_epochs": 5, "batch_size": 20, "lr": 0.05},
}


def run_demo(storage: Path, display: Display, *, verbose: bool = False) -> list[RunSummary]:
    """Run FedDST and then FedAvg on one local Ray, and return the summaries in this order.

    When the user interrupts a run, the list ends with the summary of this run.
    """
    from orchestrator.runtime.ray_session import ray_session

    methods: list[dict[str, Any]] = [
        {"algorithm": {"name": "feddst"}, "sparsity": {"level": 0.8}},
        {"algorithm": {"name": "fedavg"}},
    ]
    configs = [
        ExperimentConfig.parse({**DEMO, **method, "runtime": {"storage": str(storage)}}) for method in methods
    ]
    check_storage_and_tracking(configs[0])
    with ray_session(configs[0].runtime, verbose=verbose):
        results: list[RunSummary] = []
        for config in configs:
            results.append(session.run(config, display, verbose=verbose))
            if results[-1].interrupted:
                break
        return results
